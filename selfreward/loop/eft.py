"""Evaluation fine-tuning data (Yuan et al. 2024, 2401.10020, section 3.1.1), as pure functions.

The SFT baseline writes several judgments of each human-ranked answer. The judgments whose scores agree with the human
ranking train the judge role. The most common score is down-sampled, since scores pile up on one value.

The paper does not say how several judgments of an answer, or ties, count. Here vote `j` on all answers to a prompt is
one judging round. A round agrees if every two answers of different human rank have scores in that strict order.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.rows import sft_row


@dataclass(frozen=True)
class Verdict:
    """One judgment text of answer `index` to prompt `prompt_id`, and its score."""

    prompt_id: str
    index: int
    score: float
    text: str


@dataclass(frozen=True)
class Contrast:
    """Two judgments of one answer with different scores: one agrees with the human ranking, the other does not."""

    chosen: Verdict
    rejected: Verdict


@dataclass(frozen=True)
class Selection:
    """The result of EFT building. `accepted` is after down-sampling, `contrasts` before.

    `counts`: `prompts` judged, `rounds` of judging, `agreeing` rounds, `unparsed` votes, `accepted` verdicts before and
    `kept` after down-sampling.
    """

    accepted: list[Verdict]
    contrasts: list[Contrast]
    counts: dict[str, int]


Place = tuple[str, int]
"""Prompt id and index of an answer."""


def agrees(ranks: Sequence[float], scores: Sequence[float | None]) -> bool:
    """Whether one round's scores order every two answers of different rank (1 is best) strictly as people did.

    False if a score is missing, or if all ranks are equal.
    """
    valid = [score for score in scores if score is not None]
    if len(valid) < len(scores):
        return False
    pairs = [(a, b) for a in range(len(ranks)) for b in range(len(ranks)) if ranks[a] < ranks[b]]
    return bool(pairs) and all(valid[a] > valid[b] for a, b in pairs)


def sort_votes(
    ranks: Sequence[float], votes: Sequence[Sequence[Vote]]
) -> tuple[list[list[Vote]], list[list[Vote]], int]:
    """Votes of agreeing rounds and valid votes of the other rounds, both by answer, and the number of agreeing rounds.

    `votes[i][j]` is vote `j` on answer `i`; every answer has the same number of votes.
    """
    agreeing: list[list[Vote]] = [[] for _ in votes]
    others: list[list[Vote]] = [[] for _ in votes]
    rounds = 0
    for judging_round in zip(*votes, strict=True):
        accepted = agrees(ranks, [vote.score for vote in judging_round])
        rounds += accepted
        for index, vote in enumerate(judging_round):
            if vote.score is not None:
                (agreeing if accepted else others)[index].append(vote)
    return agreeing, others, rounds


def select(
    rollouts: Sequence[Rollout],
    ranks: Mapping[str, Sequence[float]],
    *,
    cap_ratio: float = 1.0,
    max_rows: int = 0,
    seed: int = 0,
) -> Selection:
    """The judgments to train on, from judged human-ranked answers. `ranks` are by prompt id, in the order of the
    answers.

    `cap_ratio` and `max_rows` are those of the recipe's `eft` section. The result does not depend on the order of
    `rollouts`.
    """
    accepted: list[Verdict] = []
    contrasts: list[Contrast] = []
    counts = Counter({"prompts": len(rollouts), "rounds": 0, "agreeing": 0, "unparsed": 0})
    # Sort the votes of each prompt into agreeing ones and others.
    for rollout in sorted(rollouts, key=lambda rollout: rollout.prompt_id):
        votes = [judgment.votes for judgment in rollout.judgments]
        agreeing, others, rounds = sort_votes(ranks[rollout.prompt_id], votes)
        counts["rounds"] += len(votes[0]) if votes else 0
        counts["agreeing"] += rounds
        counts["unparsed"] += sum(vote.score is None for row in votes for vote in row)
        for index, (good, bad) in enumerate(zip(agreeing, others, strict=True)):
            verdicts = [_verdict(rollout.prompt_id, index, vote) for vote in good]
            accepted += verdicts
            contrasts += _contrasts(verdicts, [_verdict(rollout.prompt_id, index, vote) for vote in bad], seed)
    # Down-sample.
    rng = random.Random(seed)  # noqa: S311 - guards no secret
    kept = cap_most_common(accepted, cap_ratio, rng)
    if max_rows and len(kept) > max_rows:
        kept = rng.sample(kept, max_rows)
    return Selection(kept, contrasts, {**counts, "accepted": len(accepted), "kept": len(kept)})


def cap_most_common(verdicts: Sequence[Verdict], cap_ratio: float, rng: random.Random) -> list[Verdict]:
    """Keep at most `cap_ratio` times as many verdicts of the most common score as of the second most common one.

    If there is only one score, all verdicts are kept.
    """
    common = Counter(verdict.score for verdict in verdicts).most_common(2)
    if len(common) < 2:
        return list(verdicts)
    (score, count), (_, second) = common
    surplus = count - int(cap_ratio * second)
    if surplus <= 0:
        return list(verdicts)
    places = [place for place, verdict in enumerate(verdicts) if verdict.score == score]
    dropped = set(rng.sample(places, surplus))
    return [verdict for place, verdict in enumerate(verdicts) if place not in dropped]


def sft_rows(verdicts: Sequence[Verdict], prompts: Mapping[Place, list[Message]]) -> list[dict[str, object]]:
    """EFT rows: the filled judge prompt, and the judgment as its completion."""
    return [sft_row(prompts[verdict.prompt_id, verdict.index], verdict.text) for verdict in verdicts]


def judge_pairs(
    contrasts: Sequence[Contrast], prompts: Mapping[Place, list[Message]], policy_version: str, rubric: str
) -> list[PreferencePair]:
    """Preference pairs of judgments. Their scores are agreement with the human ranking: 1 and 0."""
    return [
        PreferencePair(
            prompt=prompts[contrast.chosen.prompt_id, contrast.chosen.index],
            chosen=[Message(role="assistant", content=contrast.chosen.text)],
            rejected=[Message(role="assistant", content=contrast.rejected.text)],
            kind="judge",
            prompt_id=f"{contrast.chosen.prompt_id}.{contrast.chosen.index}",
            score_chosen=1.0,
            score_rejected=0.0,
            votes_chosen=[contrast.chosen.score],
            votes_rejected=[contrast.rejected.score],
            policy_version=policy_version,
            judge_version=policy_version,
            rubric=rubric,
        )
        for contrast in contrasts
    ]


def place_of(verdict: Verdict) -> Place:
    """The answer that a verdict judges."""
    return verdict.prompt_id, verdict.index


def _verdict(prompt_id: str, index: int, vote: Vote) -> Verdict:
    if vote.score is None:
        raise ValueError(f"vote on answer {index} of {prompt_id} has no score")
    return Verdict(prompt_id, index, vote.score, vote.text)


def _contrasts(agreeing: list[Verdict], others: list[Verdict], seed: int) -> list[Contrast]:
    """Contrasts of different scores; each judgment is in at most one."""
    if not agreeing or not others:
        return []
    rng = random.Random(content_key(seed, agreeing[0].prompt_id, agreeing[0].index))  # noqa: S311 - guards no secret
    shuffled = rng.sample(others, len(others))
    pairs = []
    for good in rng.sample(agreeing, len(agreeing)):
        bad = next((verdict for verdict in shuffled if verdict.score != good.score), None)
        if bad is not None:
            shuffled.remove(bad)
            pairs.append(Contrast(good, bad))
    return pairs
