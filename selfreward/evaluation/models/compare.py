"""What a run came to, so that runs can stand side by side: its last model, and that model against the run's M0, M1."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.base import content_key
from selfreward.evaluation.bootstrap import Bootstrap, Ratio, mean
from selfreward.evaluation.models.answer_files import Duel
from selfreward.evaluation.models.preferences import decide
from selfreward.evaluation.models.win_rate import win_rates
from selfreward.evaluation.report.findings.sentences import worse_than_base
from selfreward.evaluation.report.inputs import ModelData, ReportError, RunData, load_run
from selfreward.evaluation.report.report import build_report
from selfreward.store.artifacts import ArtifactStore

BASE = "M0"
BASELINE = "M1"
_BEFORE_ROUNDS = (BASE, "SFT", BASELINE)

Judge = Callable[[Sequence[Duel]], Sequence[float]]
"""Preferences of a judge: 1 where `a` of the duel wins, 0 where `b` does, 0.5 for a tie, NaN where undecided."""


def find_run(name: str, artifacts: str) -> RunData:
    """A run by its name in the artifact store, or by the path of its folder in any local one. Raises ReportError."""
    folder = Path(name)
    if (folder / "run.json").is_file():
        folder = folder.resolve()
        return load_run(ArtifactStore(str(folder.parent.parent)), folder.name)
    return load_run(ArtifactStore(artifacts), name)


def live_judge(client: JudgeClient, rubric: str, policy: str | None, seed: int | None) -> Judge:
    """The configured judge with a rubric, which may compare or score. Raises ServiceError."""
    kind = client.rubric(rubric)["kind"]
    options: JudgeOptions = {"rubric": rubric, "policy": policy, "seed": seed}

    def judge(contest: Sequence[Duel]) -> list[float]:
        return [each.preference for each in decide(client, kind, contest, options, _show_nothing)]

    return judge


def _show_nothing(_: dict[str, Any]) -> None:
    return


def compared(data: RunData, bootstrap: Bootstrap, judge: Judge | None = None) -> dict[str, Any]:
    """A run's entry in a comparison, as JSON-ready data; figures are `{value, low, high, n}`.

    The win rates are the last model's against M1 on the same held-out prompts: by `judge`, who is shown the greedy
    answers, else by the independent checker's scores of the sampled ones; null without either, and for M1 itself.
    `gain` is what the last model solves more than M1, `over_m0` what it solves more than M0, sampled (`solve_rate`) and
    greedily (`solve_rate_greedy`), prompts resampled together; `over_m0` is null for a run that did not evaluate M0.
    `rounds` are the report's, with what each method records there.
    `minutes` are those of the rounds alone, since runs may share what is before them. Raises ReportError.
    """
    report = build_report(data, bootstrap.resamples, bootstrap.seed)
    models = {model.name: model for model in data.models}
    if BASELINE not in models:
        raise ReportError(f"run {data.run} has no evaluated {BASELINE}: nothing to compare its models with")
    last = data.models[-1]
    figures = {model["name"]: _figures(model) for model in report["models"]}
    contest = None
    if last.name != BASELINE:
        contest = against(last, models[BASELINE], bootstrap, judge)
    recipe = data.record.recipe
    since = {entry["b"]: entry for entry in report["differences"] if entry["a"] == last.name}
    over_m0 = {name: since[BASE][name] for name in ("solve_rate", "solve_rate_greedy")} if BASE in since else None
    return {
        "run": data.run,
        "method": recipe.get("method"),
        "recipe": recipe.get("name"),
        "seed": recipe.get("seed"),
        "recipe_hash": data.record.recipe_hash,
        "commit": report["provenance"]["commit"],
        "model": last.name,
        "models": figures,
        "against_m1": contest,
        "gain": since[BASELINE]["solve_rate"] if BASELINE in since else None,
        "over_m0": over_m0,
        "pair_yield": bootstrap.interval(pair_yield(data))._asdict(),
        "rounds": report["iterations"],
        "minutes": _minutes(data),
        "alarms": [f"{alarm['stage']} {alarm['watchdog']}" for alarm in report.get("alarms", [])]
        + worse_than_base(report)
        + _hacking(report),
    }


def _hacking(report: dict[str, Any]) -> list[str]:
    """Steps on which the own score rose and the independent one did not."""
    points = (report["goodhart"] or {"points": []})["points"]
    return [
        f"{point['model']} own score up since {step['since']}, the independent one not"
        for point in points
        for step in point["steps"]
        if step["alarm"]
    ]


def against(
    model: ModelData, baseline: ModelData, bootstrap: Bootstrap, judge: Judge | None = None
) -> dict[str, Any] | None:
    """The contest of two models of one run, and `by` whom it was decided. None where nobody can decide."""
    if judge is not None:
        contest = held_out(model, baseline, "greedy")
        return {"by": "judge", **win_rates(contest, judge(contest), bootstrap)}
    if model.labels is None or baseline.labels is None:
        return None
    contest = held_out(model, baseline, "samples")
    return {"by": "checker", **win_rates(contest, _checked(model, baseline), bootstrap)}


def held_out(model: ModelData, baseline: ModelData, part: str) -> list[Duel]:
    """The k-th answers of two models to each held-out prompt that both have answered."""
    theirs = {rollout.prompt_id: rollout for rollout in getattr(baseline, part)}
    shared = [rollout for rollout in getattr(model, part) if rollout.prompt_id in theirs]
    return [
        Duel(group, rollout.prompt, mine.text, other.text)
        for group, rollout in enumerate(shared)
        for mine, other in zip(rollout.responses, theirs[rollout.prompt_id].responses, strict=False)
    ]


def _checked(model: ModelData, baseline: ModelData) -> list[float]:
    """For the duels of `held_out(..., "samples")`, whose answer the checker scores higher."""
    if model.labels is None or baseline.labels is None:
        raise ValueError("both models need labels")
    theirs = baseline.labels.samples
    return [
        (np.sign(mine - other) + 1) / 2
        for rollout in model.samples
        if rollout.prompt_id in theirs
        for mine, other in zip(model.labels.samples[rollout.prompt_id], theirs[rollout.prompt_id], strict=False)
    ]


def pair_yield(data: RunData) -> Ratio:
    """Share of the prompts of all rounds that gave a pair of answers; no figure where a method makes no pairs."""
    gave_a_pair: list[float] = []
    for entry in data.iterations:
        with_pairs = {pair.prompt_id for pair in data.pairs[entry["stage"]] if pair.kind == "actor"}
        if not with_pairs:
            continue
        prompts = max(int(entry.get("prompts") or 0), len(with_pairs))
        gave_a_pair += [1.0] * len(with_pairs) + [0.0] * (prompts - len(with_pairs))
    return mean(gave_a_pair)


def _figures(model: dict[str, Any]) -> dict[str, Any]:
    checker, fixed = model["checker"] or {}, model["judge_fixed"] or {}
    return {
        "solve_rate": checker.get("solve_rate"),
        "solve_rate_greedy": checker.get("solve_rate_greedy"),
        "judge_accuracy": fixed.get("pairwise_accuracy"),
        "judge_accuracy_own_answers": (model["judge"] or {}).get("pairwise_accuracy"),
        "own_score": model["own_score"],
        "mean_length": model["mean_length"],
    }


def _minutes(data: RunData) -> float | None:
    """Minutes of the run's rounds by its journal; None where there is no journal."""
    journal = (data.record.model_extra or {}).get("journal")
    if journal is None:
        return None
    return float(sum(entry["seconds"] for entry in journal if entry["stage"] not in _BEFORE_ROUNDS)) / 60


def same_m1(runs: Sequence[RunData]) -> bool:
    """Whether all runs have the very same M1, told by its held-out answers."""
    answers = [
        [[r.prompt_id, [a.text for a in r.responses]] for m in data.models if m.name == BASELINE for r in m.samples]
        for data in runs
    ]
    return len({content_key(each) for each in answers}) == 1
