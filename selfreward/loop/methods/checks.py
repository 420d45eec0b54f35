"""Violations that an audit reports, and the checks that several methods share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selfreward.contracts.rollouts import ResponseLogprobs, Rollout


@dataclass(frozen=True)
class Violation:
    """Something wrong with a run's artifacts.

    `kind`: journal, manifest, lineage, half-written, unreadable, accounting, policy, pairs, questions or samples.
    """

    kind: str
    artifact: str
    detail: str


def check_accounting(
    name: str, prompts: Sequence[str], answered: Sequence[str], failed: Sequence[str]
) -> Iterator[Violation]:
    """Each of the stage's prompts was answered or failed exactly once, and no other prompt was."""
    counts = Counter([*answered, *failed])
    twice = [prompt for prompt, count in counts.items() if count > 1]
    lost = [prompt for prompt in prompts if prompt not in counts]
    unknown = sorted(set(counts) - set(prompts))
    for what, wrong in (("more than once", twice), ("missing", lost), ("never asked", unknown)):
        if wrong:
            yield Violation("accounting", name, f"{len(wrong)} prompts {what}: {wrong[:3]}")


def check_answers(
    name: str, rollouts: Sequence[Rollout], version: str | None, answers: int | None
) -> Iterator[Violation]:
    """The policy `version` answered each rollout, with `answers` answers (None: any number)."""
    wrong = sorted({rollout.policy_version for rollout in rollouts} - {version})
    if wrong:
        yield Violation("policy", name, f"answered by {wrong}, {version} was to answer")
    short = [rollout.prompt_id for rollout in rollouts if answers is not None and len(rollout.responses) != answers]
    if short:
        yield Violation("accounting", name, f"not {answers} answers: {short[:3]}")


def check_judge(
    name: str, rollouts: Sequence[Rollout], version: str | None, annotator: str = "policy", did: str = "compare"
) -> Iterator[Violation]:
    """The policy `version` judged all rollouts, unless an outside annotator did."""
    wrong = sorted({str(rollout.judge_version) for rollout in rollouts} - {version})
    if wrong and annotator == "policy":
        yield Violation("policy", name, f"{did}d by {wrong}, {version} was to {did}")


def check_votes(
    name: str, rollouts: Sequence[Rollout], version: str | None, votes: int, annotator: str = "policy"
) -> Iterator[Violation]:
    """Every answer has `votes` votes, by the right judge."""
    yield from check_judge(name, rollouts, version, annotator, "judge")
    short = [
        rollout.prompt_id
        for rollout in rollouts
        if len(rollout.judgments) != len(rollout.responses)
        or any(len(judgment.votes) != votes for judgment in rollout.judgments)
    ]
    if short:
        yield Violation("accounting", name, f"not {votes} votes on every answer: {short[:3]}")


def check_logprobs(
    name: str, rollouts: Sequence[Rollout], rows: Sequence[ResponseLogprobs], models: set[str]
) -> Iterator[Violation]:
    """Each row belongs to a different answer of the rollouts and has the log-probabilities under `models`."""
    answers = {(rollout.prompt_id, index) for rollout in rollouts for index in range(len(rollout.responses))}
    counts = Counter((row.prompt_id, row.index) for row in rows)
    wrong = [place for place, count in counts.items() if count > 1 or place not in answers]
    if wrong or not counts:
        yield Violation("accounting", name, f"{len(counts)} answers scored, not those of the rollouts: {wrong[:3]}")
    if any(set(row.logprobs) != models for row in rows):
        yield Violation("policy", name, f"not scored by {sorted(models)}")
