"""Claims of the papers that need no large model, checked on a seed's runs. Each holds or fails, with a measurement.

A claim is `{holds, measured}`, with intervals of 95 % over prompts. The papers' models are thousands of times larger,
so only the directions of effects are compared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from examples.worlds.claims import Claim, difference, in_points
from examples.worlds.countdown.methods_table import Entry
from examples.worlds.countdown.padding import padding_claim
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.contracts.training import TrainJob
from selfreward.evaluation.bootstrap import Bootstrap, Interval, mean
from selfreward.evaluation.report.inputs import RunData, load_run
from selfreward.evaluation.report.report import build_report
from selfreward.loop import paths, stages
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import cream, temporal
from selfreward.loop.methods.cream import CreamRules
from selfreward.loop.methods.implicit import consistencies, reward, rows_by_place
from selfreward.loop.methods.temporal import future_stage_of
from selfreward.loop.pairing import best_over_worst
from selfreward.loop.stages import Scorers
from selfreward.store.artifacts import ArtifactStore
from services.trainer.algorithms.logprobs import write_logprobs
from services.trainer.worker.progress import PROGRESS_NAME, Progress

_CANARY = [Message(role="user", content="Use 1 2 3 to make 6 .")]


def claims_of(store: ArtifactStore, entries: Mapping[str, Entry], seed: int) -> dict[str, Claim]:
    """The claims by their text, without claims about contenders that are missing or failed.

    The checker must have labelled the runs. Raises ReportError if M1's run is not labelled.
    """
    finished = {name: entry for name, entry in entries.items() if "failed" not in entry}
    checks: list[tuple[str, set[str], Callable[[], Claim]]] = [
        ("EFT raises judge accuracy", set(), lambda: _eft(store, seed)),
        (
            "rho > 0 shortens the chosen answers of the same rollouts",
            {"meta_rewarding"},
            lambda: _shorter_chosen(store, f"meta_rewarding-{seed}"),
        ),
        (
            "with rho > 0 the last model's answers are no longer than with rho = 0",
            {"meta_rewarding", "meta_rewarding_rho0"},
            lambda: _length_held(store, seed),
        ),
        (
            "CREAM's soft labels weigh pairs less on which the two models disagree",
            {"cream"},
            lambda: _disagreed_weigh_less(store, f"cream-{seed}"),
        ),
        (
            "CREAM's M3 and M2 rank answers more alike than plain self-rewarding's",
            {"cream", "self_rewarding"},
            lambda: _more_consistent(store, seed),
        ),
        (
            "a padded copy beats what it copies by a judge who likes length, and equals it when length is controlled",
            set(),
            lambda: padding_claim(store, seed),
        ),
        (
            "a padded copy wins no more against other answers either when length is controlled",
            set(),
            lambda: padding_claim(store, seed, other=1),
        ),
        (
            "anchored rejection widens the gap between chosen and rejected of the same prompts",
            {"temporal"},
            lambda: _gap_of_anchoring(store, f"temporal-{seed}"),
        ),
        (
            "in the last round the gap is wider than plain self-rewarding's",
            {"temporal", "self_rewarding"},
            lambda: _gap_kept(store, seed),
        ),
        (
            "DPO on pairs solves more than SFT on the chosen answers alone",
            {"self_rewarding", "positives"},
            lambda: _pairs_beat_positives(store, seed),
        ),
        (
            "a judge with a hole is hacked: own score up, checker not, and the alarm says so",
            {"blind_judge"},
            lambda: hacked(finished["blind_judge"]),
        ),
    ]
    return {text: check() for text, needed, check in checks if needed <= finished.keys()}


def gaps(pairs: Iterable[PreferencePair]) -> dict[str, float]:
    """Score gaps (points) of the pairs of answers, by prompt."""
    return {pair.prompt_id: pair.score_chosen - pair.score_rejected for pair in pairs if pair.kind == "actor"}


def wider(gaps_of_method: Mapping[str, float], plain: Mapping[str, float]) -> Claim:
    """Whether the method's gaps are larger than the plain ones on average. The prompts of the two may differ."""
    prompts = sorted(gaps_of_method.keys() | plain.keys())
    more = Bootstrap().difference(
        *(mean([by_prompt.get(prompt, float("nan")) for prompt in prompts]) for by_prompt in (gaps_of_method, plain))
    )
    means = " against ".join(f"{fmean(by_prompt.values()):.2f}" for by_prompt in (gaps_of_method, plain))
    return {"holds": _above(more), "measured": f"{means} points: {_signed(more)}"}


def hacked(entry: Entry) -> Claim:
    """Whether the report's alarm about reward hacking is among the alarms.

    It is made by `selfreward.evaluation.report.findings.goodhart`.
    """
    alarms = [alarm for alarm in entry["alarms"] if "the independent one not" in alarm]
    models = [model for name, model in entry["models"].items() if name in ("M1", entry["model"])]
    rates = " to ".join(f"{model['solve_rate']['value']:.1%}" for model in models)
    return {"holds": bool(alarms), "measured": f"solved {rates}; alarms: {'; '.join(alarms) or 'none'}"}


def _eft(store: ArtifactStore, seed: int) -> Claim:
    gain = difference(build_report(load_run(store, f"m1-{seed}")), "M1", "SFT", "judge_pairwise_accuracy")
    return {"holds": gain["low"] > 0, "measured": in_points(gain)}


def _shorter_chosen(store: ArtifactStore, run: str) -> Claim:
    """Compares the last round's pairs with length control to those without it."""
    data = load_run(store, run)
    recipe, stage = RunRecipe.model_validate(data.record.recipe), data.iterations[-1]["stage"]
    rollouts = _rollouts(store, paths.rollouts(run, stage))
    lengths = []
    for rules in (recipe.pairs, recipe.pairs.model_copy(update={"length_control": 0.0})):
        pairs, _ = best_over_worst(rollouts, rules, recipe.seed)
        chosen = {pair.prompt_id: len(pair.chosen[-1].content) for pair in pairs}
        lengths.append([float(chosen.get(rollout.prompt_id, float("nan"))) for rollout in rollouts])
    change = Bootstrap().difference(mean(lengths[0]), mean(lengths[1]))
    return {"holds": _below(change), "measured": _characters(change)}


def _length_held(store: ArtifactStore, seed: int) -> Claim:
    change = Bootstrap().difference(
        *(mean(_lengths(load_run(store, f"{name}-{seed}"))) for name in ("meta_rewarding", "meta_rewarding_rho0"))
    )
    return {"holds": change.low is not None and change.low <= 0, "measured": _characters(change)}


def _lengths(data: RunData) -> list[float]:
    """Mean characters of the last model's answers to each held-out prompt."""
    return [fmean(len(response.text) for response in rollout.responses) for rollout in data.models[-1].samples]


def _disagreed_weigh_less(store: ArtifactStore, run: str) -> Claim:
    """Compares the soft labels (by prompt) of pairs that M_{t-1} orders alike with those of the others."""
    weights: dict[bool, list[float]] = {True: [], False: []}
    for iteration in load_run(store, run).iterations:
        for alike, weight in _weights(store, run, iteration["stage"]):
            weights[alike].append(weight)
    if not weights[True] or not weights[False]:
        return {"holds": False, "measured": f"no such two kinds among {len(weights[True] + weights[False])} pairs"}
    agreed, disagreed = (fmean(weights[kind]) for kind in (True, False))
    counts = f"{len(weights[True])} and {len(weights[False])} pairs"
    return {"holds": disagreed < agreed, "measured": f"C {agreed:.2f} agreed, {disagreed:.2f} disagreed ({counts})"}


def _weights(store: ArtifactStore, run: str, stage: str) -> Iterator[tuple[bool, float]]:
    """For each pair of a round: whether M_{t-1} also prefers the chosen answer, and the soft label."""
    rows = rows_by_place(map(ResponseLogprobs.model_validate, store.read_jsonl(paths.logprobs(run, stage))))
    rollouts, scorers = _rollouts(store, paths.rollouts(run, stage)), stages.scorers(run, stage)
    pairs, _ = cream.build_pairs(rollouts, rows, scorers, CreamRules(soft_labels="dynamic"))
    by_id = {rollout.prompt_id: rollout for rollout in rollouts}
    for pair in pairs:
        place = {response.text: index for index, response in enumerate(by_id[pair.prompt_id].responses)}
        chosen, rejected = (
            reward(rows[pair.prompt_id, place[side[-1].content]], scorers.previous, scorers.reference)
            for side in (pair.chosen, pair.rejected)
        )
        yield chosen > rejected, pair.weight or 0.0


def _more_consistent(store: ArtifactStore, seed: int) -> Claim:
    """Compares C of M3 and M2 for both methods, on M1's answers to the held-out prompts."""
    both = [_consistency(store, f"{name}-{seed}", f"m1-{seed}") for name in ("cream", "self_rewarding")]
    prompts = [prompt for prompt in both[0] if prompt in both[1]]
    cream_c, plain_c = ([by_prompt[prompt] for prompt in prompts] for by_prompt in both)
    more = Bootstrap().difference(mean(cream_c), mean(plain_c))
    measured = f"C {fmean(cream_c):.3f} against {fmean(plain_c):.3f}: {_signed(more)}"
    return {"holds": _above(more), "measured": measured}


def _consistency(store: ArtifactStore, run: str, m1: str) -> dict[str, float]:
    last, before = (model.name for model in reversed(load_run(store, run).models[-2:]))
    by = Scorers(*(paths.weights(run, name) for name in (last, before, "M0")))
    answers = paths.evaluation(m1, "M1", "samples")
    job = TrainJob(
        id=f"{run}-consistency",
        run=run,
        stage=last,
        method="logprobs",
        init_from=by.policy,
        checkpoints=[by.policy, by.previous, by.reference],
        datasets=[answers],
        output=f"{paths.folder(run)}/evaluation/consistency.jsonl",
        canary=_CANARY,
    )
    with TemporaryDirectory() as folder:
        write_logprobs(job, store, Path(folder), Progress(Path(folder) / PROGRESS_NAME, job.id))
    rows = rows_by_place(map(ResponseLogprobs.model_validate, store.read_jsonl(job.output)))
    return consistencies(_rollouts(store, answers), rows, by)


def _gap_kept(store: ArtifactStore, seed: int) -> Claim:
    """Compares the gaps of the last round's pairs of `temporal` and `self_rewarding`."""
    runs = [load_run(store, f"{name}-{seed}") for name in ("temporal", "self_rewarding")]
    return wider(*(gaps(run.pairs[run.iterations[-1]["stage"]]) for run in runs))


def _gap_of_anchoring(store: ArtifactStore, run: str) -> Claim:
    """Compares the gaps of the last round's pairs with M1's answers and without them, both without the future
    model's."""
    data = load_run(store, run)
    recipe = RunRecipe.model_validate(data.record.recipe)
    n, rules, stage = recipe.sampling.n, recipe.pairs, future_stage_of(data.iterations[-1]["stage"])
    anchored = _rollouts(store, paths.rollouts(run, stage))
    alone = [
        rollout.model_copy(update={"responses": rollout.responses[:n], "judgments": rollout.judgments[:n]})
        for rollout in anchored
    ]
    return wider(*(gaps(temporal.build_pairs(answers, [], n, rules, recipe.seed)[0]) for answers in (anchored, alone)))


def _pairs_beat_positives(store: ArtifactStore, seed: int) -> Claim:
    rates = []
    for name in ("self_rewarding", "positives"):
        labels = load_run(store, f"{name}-{seed}").models[-1].labels
        rates.append([fmean(solved) for _, solved in sorted(labels.solved["samples"].items())] if labels else [])
    gain = Bootstrap().difference(mean(rates[0]), mean(rates[1]))
    return {"holds": _above(gain), "measured": in_points(gain._asdict())}


def _rollouts(store: ArtifactStore, name: str) -> list[Rollout]:
    return [Rollout.model_validate(row) for row in store.read_jsonl(name)]


def _above(interval: Interval) -> bool:
    return interval.low is not None and interval.low > 0


def _below(interval: Interval) -> bool:
    return interval.high is not None and interval.high < 0


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _characters(interval: Interval) -> str:
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}] characters"
