"""Small recipes, judgments and rollouts, which tests change where it matters to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.judging import Judgment, JudgmentStatus, Vote
from selfreward.contracts.rollouts import PreferencePair, Response, Rollout
from selfreward.loop.load import RunRecipe
from selfreward.loop.record import RunState, now

Scores = Sequence[float | None]
VERDICTS = {"answer_format": "[-+*=;0-9 ]+", "correct_from": 5}
SELF_IMPROVING: dict[str, Any] = {
    "method": "self_improving",
    "rl": {"batch_size": 8, "group": 8},
    "sampling": {"n": 2},
    "judging": {"votes": 1},
    "verdicts": VERDICTS,
}
DATA = {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}


def recipe(**sections: Any) -> RunRecipe:
    """The least that a recipe says, and these sections."""
    return RunRecipe.model_validate({"name": "r", "model": "m", "data": DATA, **sections})


def self_improving(**sections: Any) -> RunRecipe:
    """A small recipe of that method, and these sections."""
    return recipe(**{**SELF_IMPROVING, **sections})


def judgment(scores: Scores, index: int = 0) -> Judgment:
    """A judgment of one vote for each score; None is a vote that could not be read."""
    votes = [Vote(score=score, status="ok" if score is not None else "unparsed") for score in scores]
    valid = [score for score in scores if score is not None]
    mean = sum(valid) / len(valid) if valid else None
    status: JudgmentStatus = "unscored" if not valid else "ok" if len(valid) == len(scores) else "partial"
    return Judgment(id=str(index), index=index, score=mean, status=status, votes=votes, valid_votes=len(valid))


def rollout(
    answers: Mapping[str, Scores] | Sequence[tuple[str, Scores]] | Sequence[str], name: str = "p0", **fields: Any
) -> Rollout:
    """Answers to a prompt, and their judgments where they come with scores."""
    given = answers.items() if isinstance(answers, Mapping) else answers
    rows: list[tuple[str, Scores | None]] = [(row, None) if isinstance(row, str) else row for row in given]
    scores = [row_scores for _, row_scores in rows if row_scores is not None]
    judged = {"judge_version": "policy@1", "rubric": "additive5@sha256:0123456789ab"} if scores else {}
    values = {
        "key": name,
        "run": "r",
        "stage": "M2",
        "prompt_id": name,
        "prompt": [Message(role="user", content="question")],
        "policy_version": "policy@1",
        "responses": [Response(text=text) for text, _ in rows],
        "judgments": [judgment(votes, index) for index, votes in enumerate(scores)],
        **judged,
    }
    return Rollout.model_validate(values | fields)


def cut_off(answered: Rollout, *texts: str) -> Rollout:
    """The rollout, with these answers ended by the token limit and the others by themselves."""
    ended = [
        response.model_copy(update={"finish_reason": "length" if response.text in texts else "stop"})
        for response in answered.responses
    ]
    return answered.model_copy(update={"responses": ended})


def voted(name: str, *votes: Scores, texts: Sequence[str] = ()) -> Rollout:
    """Answers to the prompt `name`, each with the given votes."""
    asked = [Message(role="user", content=name)]
    return rollout(list(zip(texts or ["x"] * len(votes), votes, strict=True)), name, prompt=asked)


def probe(name: str, question: str, scores: Scores) -> Rollout:
    """A group of distinct well-formed answers with these scores, one vote each."""
    answers = rollout([(f"{number} + 1 = 2", [score]) for number, score in enumerate(scores)], name)
    return answers.model_copy(update={"prompt": [Message(role="user", content=question)]})


def new_run(name: str, **fields: Any) -> RunState:
    """The record of a run that was just submitted."""
    asked = recipe()
    values = {"run": name, "recipe": asked, "recipe_hash": asked.hash, "created_at": now(), **fields}
    return RunState.model_validate(values)


def pair(**fields: Any) -> PreferencePair:
    """A good answer over a bad one, by the votes of a judge."""
    values = {
        "prompt": [Message(role="user", content="q")],
        "chosen": [Message(role="assistant", content="good")],
        "rejected": [Message(role="assistant", content="bad")],
        "prompt_id": "prompts-00001",
        "score_chosen": 4.5,
        "score_rejected": 2.0,
        "votes_chosen": [4.0, 5.0, None],
        "votes_rejected": [2.0, 2.0, 2.0],
        "policy_version": "policy@2",
        "judge_version": "policy@2",
        "rubric": "additive5@sha256:0123456789ab",
    }
    return PreferencePair.model_validate(values | fields)
