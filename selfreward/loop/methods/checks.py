"""What an audit finds, and the checks that the rounds of several methods share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selfreward.contracts.rollouts import ResponseLogprobs, Rollout


@dataclass(frozen=True)
class Violation:
    """Something that must not be.

    `kind`: journal, manifest, lineage, half-written, unreadable, accounting, policy, pairs, questions or samples.
    """

    kind: str
    artifact: str
    detail: str


def check_accounted(
    name: str, asked: Sequence[str], answered: Sequence[str], failed: Sequence[str]
) -> Iterator[Violation]:
    """Each asked prompt once, as answered or as given up; nothing else."""
    counts = Counter([*answered, *failed])
    twice = [prompt for prompt, count in counts.items() if count > 1]
    lost = [prompt for prompt in asked if prompt not in counts]
    unknown = sorted(set(counts) - set(asked))
    for what, prompts in (("more than once", twice), ("missing", lost), ("never asked", unknown)):
        if prompts:
            yield Violation("accounting", name, f"{len(prompts)} prompts {what}: {prompts[:3]}")


def check_answers(
    name: str, rollouts: Sequence[Rollout], version: str | None, answers: int | None
) -> Iterator[Violation]:
    """Each rollout is of the policy `version` and has `answers` answers (None: any number)."""
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
    """Every answer has `votes` votes of the judge that was to judge."""
    yield from check_judge(name, rollouts, version, annotator, "judge")
    short = [
        rollout.prompt_id
        for rollout in rollouts
        if len(rollout.judgments) != len(rollout.responses)
        or any(len(judgment.votes) != votes for judgment in rollout.judgments)
    ]
    if short:
        yield Violation("accounting", name, f"not {votes} votes on every answer: {short[:3]}")


def check_scored(
    name: str, rollouts: Sequence[Rollout], rows: Sequence[ResponseLogprobs], models: set[str]
) -> Iterator[Violation]:
    """Each row is of an answer that is there, once, and under the models that the plan names."""
    known = {(rollout.prompt_id, index) for rollout in rollouts for index in range(len(rollout.responses))}
    counts = Counter((row.prompt_id, row.index) for row in rows)
    odd = [place for place, count in counts.items() if count > 1 or place not in known]
    if odd or not counts:
        yield Violation("accounting", name, f"{len(counts)} answers scored, not those of the rollouts: {odd[:3]}")
    if any(set(row.logprobs) != models for row in rows):
        yield Violation("policy", name, f"not scored by {sorted(models)}")
