"""The report in a few sentences: the gain over the base model and its kind, alarms, and what is left to learn."""

from typing import Any

from selfreward.evaluation.report.cells import percent
from selfreward.evaluation.report.findings.changes import BASE, FIRST, GREEDY, SAMPLED

HOW = {SAMPLED: "sampled", GREEDY: "greedy"}
"""How the answers were made that a solve rate counts."""
KINDS = {
    "better": "better: greedy and best of n are up, so it solves what it could not",
    "sharper": "sharper: sampled is up, greedy and best of n are not, so it says more often what it could say before",
    "unclear": "neither clearly better nor clearly sharper",
}
_SIGNS = {
    "few_pairs": "{value:.1%} of its prompts gave a pair (below {threshold:.0%})",
    "top_scores": "{value:.0%} of its votes give the highest score (above {threshold:.0%})",
    "judge_plateau": "in two rounds the judge's accuracy on the ranked answers moved by {value:+.1%} (at most "
    "{threshold:.0%} counts as nothing) and no gain of the answers shows",
}


def in_short(report: dict[str, Any]) -> list[str]:
    """The sentences, alarms first after the figures that they rest on."""
    names = [model["name"] for model in report["models"]]
    since = {(entry["a"], entry["b"]): entry for entry in report["differences"]}
    checked = any(model["checker"] for model in report["models"])
    lines = []
    total = since.get((names[-1], BASE))
    if checked and total:
        changes = ", ".join(f"{how} {percent(total[name])}" for name, how in HOW.items())
        lines.append(f"{names[-1]} minus {BASE}, the untouched base model, in points of problems solved: {changes}.")
    if not checked:
        lines.append(f"No independent checker: whether a model is worse than {BASE}, and what it gained, is not known.")
    elif BASE not in names:
        lines.append(f"{BASE} was not evaluated: whether a model is worse than the base model is not known.")
    lines += [f"ALARM below_base: {line}." for line in worse_than_base(report)]
    lines += [
        f"From {gain['b']} to {gain['a']} the model became {KINDS[gain['kind']]}."
        for gain in report["gains"]
        if (gain["a"], gain["b"]) == (names[-1], FIRST)
    ]
    return lines + [f"Nothing left to learn? {line}" for line in exhausted(report)]


def worse_than_base(report: dict[str, Any]) -> list[str]:
    """Each entry of the alarm `below_base` as a clause."""
    return [
        f"{alarm['model']} solves fewer than {BASE}, {HOW[alarm['figure']]}: {percent(alarm['change'])} points"
        for alarm in report["below_base"] or []
    ]


def exhausted(report: dict[str, Any]) -> list[str]:
    """Each sign that nothing is left to learn as a sentence, with its remedy."""
    return [
        f"{sign['stage']}: {_SIGNS[sign['reason']].format(**sign)}. What to do: {sign['remedy']}."
        for sign in report["nothing_left"]
    ]
