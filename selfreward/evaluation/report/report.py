"""Assemble a run's report: every figure with its interval, as one JSON document.

With an independent checker's labels, `judge` measures the judge on the model's own samples and `comparisons` holds
head-to-head results; without them `checker` is null, `judge` is measured on the human-ranked `eft_eval` answers, there
are no comparisons and no `gains`, and `below_base` is null. `judge_fixed` is always on `eft_eval`: the same answers for
every model. M0 judges nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from selfreward.contracts.rollouts import Rollout
from selfreward.evaluation.bootstrap import Bootstrap, Ratio
from selfreward.evaluation.judge_metrics import TOP_SCORE, grades, judge_figures
from selfreward.evaluation.report import answers
from selfreward.evaluation.report.answers import Answer, by_score, contest
from selfreward.evaluation.report.findings.changes import below_base, gains
from selfreward.evaluation.report.findings.goodhart import goodhart
from selfreward.evaluation.report.findings.nothing_left import nothing_left
from selfreward.evaluation.report.inputs import Labels, ModelData, ReportError, RunData
from selfreward.evaluation.report.provenance import provenance
from selfreward.evaluation.report.rounds import round_report

Figures = dict[str, Ratio]


def build_report(data: RunData, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """The report of a run as JSON-ready data. Raises ReportError when artifacts contradict each other."""
    bootstrap = Bootstrap(resamples, seed)
    models = _on_common_prompts(data.models)
    figures = {model.name: _model_figures(model, data) for model in models}
    later_first = [(later, earlier) for earlier, later in combinations(models, 2)]
    names = [model.name for model in models]
    differences = [
        {"a": a.name, "b": b.name} | _differences(figures[a.name], figures[b.name], bootstrap) for a, b in later_first
    ]
    rounds = [
        round_report(entry, data.pairs[entry["stage"]], data.pair_labels.get(entry["stage"], []), bootstrap)
        for entry in data.iterations
    ]
    return {
        "run": data.run,
        "sampling": data.record.recipe.get("sampling", {}),
        "models": [_model_report(model, figures[model.name], bootstrap) for model in models],
        "comparisons": [
            _comparison(a, a.labels, b, b.labels, bootstrap) for a, b in later_first if a.labels and b.labels
        ],
        "differences": differences,
        "gains": gains(differences, names),
        "below_base": below_base(differences),
        "iterations": rounds,
        "nothing_left": nothing_left(rounds, names, differences),
        "goodhart": goodhart(
            models,
            {name: sections["judge_fixed"].get("pairwise_accuracy") for name, sections in figures.items()},
            bootstrap,
        ),
        **_alarms(data),
        **({"rewards": data.rewards} if data.rewards else {}),
        "provenance": provenance(data.record) | {"bootstrap": {"resamples": resamples, "seed": seed, "level": 0.95}},
    }


def _alarms(data: RunData) -> dict[str, Any]:
    """The alarms in the order in which they were raised; no key at all for a run that was not watched."""
    raised = data.record.alarms
    return {} if raised is None else {"alarms": [alarm.model_dump() for alarm in raised]}


def _on_common_prompts(models: Sequence[ModelData]) -> list[ModelData]:
    """The models with only those prompts that all of them have answers to.

    A prompt whose work failed for good under one model is missing there; comparing on what is left is fair, and `n`
    shows how much it is.
    """
    samples, greedy, eft_eval = (_common(models, name) for name in ("samples", "greedy", "eft_eval"))
    common = [
        replace(
            model,
            samples=[rollout for rollout in model.samples if rollout.prompt_id in samples],
            greedy=[rollout for rollout in model.greedy if rollout.prompt_id in greedy],
            eft_eval=[rollout for rollout in model.eft_eval if rollout.prompt_id in eft_eval],
        )
        for model in models
    ]
    judged = [[rollout.prompt_id for rollout in model.judged] for model in common if model.judged]
    if any(ids != judged[0] for ids in judged):
        raise ReportError("the models judged different prompts of their samples: have all judge the same ones")
    return common


def _common(models: Sequence[ModelData], name: str) -> set[str]:
    ids = [{rollout.prompt_id for rollout in rollouts} for m in models if (rollouts := getattr(m, name))]
    common = set.intersection(*ids) if ids else set()
    if ids and not common:
        raise ReportError(f"the models' {name} have no prompt in common: evaluate all models on the same prompts")
    return common


def _model_figures(model: ModelData, data: RunData) -> dict[str, Figures]:
    """Figures of a model by section; a section that nothing was measured for is empty."""
    fixed = _judge_on_ranked(model, data)
    checker: Figures = {}
    judge = fixed
    if model.labels:
        checker = _checker(model, model.labels)
        judge = _judge_on_samples(model, model.labels) if model.judged else {}
    votes = model.judged or model.eft_eval
    return {
        "checker": checker,
        "judge": judge,
        "judge_fixed": fixed,
        "answers": {
            "mean_length": answers.characters(model.samples),
            "mean_tokens": answers.tokens(model.samples),
            "truncated_rate": answers.truncated(model.samples),
            "parse_failure_rate": answers.parse_failures(votes),
            "unscored_rate": answers.unscored(votes),
            "own_score": answers.own_scores(model.judged),
            "share_at_top": answers.share_at_top(model.judged, TOP_SCORE),
        },
    }


def _checker(model: ModelData, labels: Labels) -> Figures:
    solved = [labels.solved["samples"][rollout.prompt_id] for rollout in model.samples]
    greedy = [rollout.prompt_id for rollout in model.greedy]
    return {
        "solve_rate": answers.pooled(solved),
        "mean_score": answers.pooled([labels.samples[rollout.prompt_id] for rollout in model.samples]),
        "solve_rate_greedy": answers.pooled([labels.solved["greedy"][prompt] for prompt in greedy]),
        "mean_score_greedy": answers.pooled([labels.greedy[prompt] for prompt in greedy]),
        "solve_rate_best_of_n": answers.any_of(solved),
    }


def _scores(rollout: Rollout) -> list[float | None]:
    return [judgment.score for judgment in rollout.judgments]


def _judge_on_samples(model: ModelData, labels: Labels) -> Figures:
    gold = [labels.samples[rollout.prompt_id] for rollout in model.judged]
    return judge_figures(grades(gold, [_scores(rollout) for rollout in model.judged]))


def _judge_on_ranked(model: ModelData, data: RunData) -> Figures:
    gold = []
    for rollout in model.eft_eval:
        row = data.human_ranks.get(rollout.prompt_id)
        if row is None or len(row.responses) != len(rollout.judgments):
            raise ReportError(
                f"evaluation/{model.name}/eft_eval.jsonl: prompt {rollout.prompt_id!r} has {len(rollout.judgments)} "
                f"judgments, data/eft_eval.jsonl has {len(row.responses) if row else 0} ranked answers for it: "
                "both must come from the same seed file"
            )
        gold.append([-response.rank for response in row.responses])
    return judge_figures(grades(gold, [_scores(rollout) for rollout in model.eft_eval])) if gold else {}


def _model_report(model: ModelData, figures: dict[str, Figures], bootstrap: Bootstrap) -> dict[str, Any]:
    intervals = {section: _intervals(values, bootstrap) for section, values in figures.items()}
    votes = [vote.score for rollout in model.judged for vote in answers.votes_of(rollout) if vote.score is not None]
    own = answers.histogram(votes)
    labels = [label for r in model.samples for label in model.labels.samples[r.prompt_id]] if model.labels else []
    return {
        "name": model.name,
        "policy_version": model.policy_version,
        "checker": intervals["checker"] or None,
        "judge": intervals["judge"] or None,
        "judge_on": "samples" if model.judged and model.labels else "eft_eval" if intervals["judge"] else None,
        "judge_fixed": intervals["judge_fixed"] or None,
        "update_kept": model.update_kept,
        **intervals["answers"],
        "histograms": {"own_votes": own, "checker": answers.histogram(labels) if labels else None},
        "own_votes_entropy_bits": answers.entropy(own) if votes else None,
    }


def _intervals(figures: Figures, bootstrap: Bootstrap) -> dict[str, Any]:
    return {name: bootstrap.interval(figure)._asdict() for name, figure in figures.items()}


def _comparison(a: ModelData, labels_a: Labels, b: ModelData, labels_b: Labels, bootstrap: Bootstrap) -> dict[str, Any]:
    mine, theirs = _scored_answers(a, labels_a), _scored_answers(b, labels_b)
    prompts = [rollout.prompt[-1].content for rollout in a.samples]
    result = contest(by_score, prompts, mine, theirs)
    return {"a": a.name, "b": b.name, "by": "checker", **_intervals(result._asdict(), bootstrap)}


def _scored_answers(model: ModelData, labels: Labels) -> list[list[Answer]]:
    return [
        [
            Answer(response.text, score)
            for response, score in zip(rollout.responses, labels.samples[rollout.prompt_id], strict=True)
        ]
        for rollout in model.samples
    ]


_COMPARED = (
    ("checker", "solve_rate"),
    ("checker", "solve_rate_greedy"),
    ("checker", "solve_rate_best_of_n"),
    ("checker", "mean_score"),
    ("judge", "pairwise_accuracy"),
    ("judge_fixed", "pairwise_accuracy"),
    ("answers", "mean_length"),
    ("answers", "own_score"),
)


def _differences(a: dict[str, Figures], b: dict[str, Figures], bootstrap: Bootstrap) -> dict[str, Any]:
    """`a` minus `b` for the figures that carry the report's claims, prompts resampled together."""
    result: dict[str, Any] = {}
    for section, name in _COMPARED:
        label = name if section in ("checker", "answers") else f"{section}_{name}"
        mine, theirs = a[section].get(name), b[section].get(name)
        difference = bootstrap.difference(mine, theirs) if mine is not None and theirs is not None else None
        result[label] = difference._asdict() if difference else None
    return result
