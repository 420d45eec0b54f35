"""`selfreward look`: what is shown of a stage, and in which order."""

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli.main import app
from selfreward.store.artifacts import ArtifactStore


def _judgment(index: int, *votes: float | None) -> dict[str, object]:
    valid = [vote for vote in votes if vote is not None]
    mean = sum(valid) / len(valid) if valid else None
    return {
        "id": str(index),
        "index": index,
        "score": mean,
        "status": "ok" if valid else "unscored",
        "votes": [
            {"score": vote, "status": "unparsed" if vote is None else "ok", "text": f"I say {vote}."} for vote in votes
        ],
        "stdev": max(valid) - min(valid) if valid else None,
        "valid_votes": len(valid),
        "failure_kind": None if valid else "unparsed",
    }


def _rollout(prompt_id: str, *votes: tuple[float | None, ...]) -> dict[str, object]:
    return {
        "key": prompt_id,
        "run": "mine",
        "stage": "M2",
        "prompt_id": prompt_id,
        "prompt": [{"role": "user", "content": f"question [{prompt_id}]"}],
        "policy_version": "policy@1",
        "responses": [{"text": f" {prompt_id} answer {place} " + "word " * 100} for place, _ in enumerate(votes)],
        "judgments": [_judgment(place, *each) for place, each in enumerate(votes)],
    }


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    """A store with three rollouts: one good, one on which votes differ, one with an unscored answer; and a pair."""
    store = ArtifactStore(store_root)
    rows = [_rollout("good", (5, 5), (4, 4)), _rollout("split", (0, 5), (3, 3)), _rollout("bad", (None, None), (1, 1))]
    store.write_jsonl("runs/mine/rollouts/M2.jsonl", rows)
    texts = [response["text"] for response in rows[0]["responses"]]  # type: ignore[attr-defined]
    chosen, rejected = ([{"role": "assistant", "content": text.strip()}] for text in texts)
    pair = {"prompt": rows[0]["prompt"], "chosen": chosen, "rejected": rejected, "prompt_id": "good"}
    origin = {"policy_version": "policy@1", "judge_version": "policy@1", "rubric": "r"}
    store.write_jsonl("runs/mine/pairs/M2.jsonl", [{**pair, "score_chosen": 5, "score_rejected": 4, **origin}])
    return store


def _look(store: ArtifactStore, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["look", "mine", "M2", "--artifacts", store.root, *arguments])


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ([], ["good", "split", "bad"]),
        (["--worst"], ["bad", "split", "good"]),
        (["--disagree"], ["split", "good", "bad"]),
        (["--unscored"], ["bad"]),
        (["--most", "1"], ["good"]),
    ],
)
def test_prompts_are_shown_in_the_order_that_is_asked_for(
    store: ArtifactStore, options: list[str], order: list[str]
) -> None:
    shown = _look(store, *options)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.output.splitlines() if line.endswith("policy@1")] == order
    assert max(map(len, shown.output.splitlines())) <= 80


def test_scores_votes_and_pairs_stand_beside_the_answers(store: ArtifactStore) -> None:
    lines = _look(store).output.splitlines()
    assert "    user: question [good]" in lines
    assert "  answer 1  score 5.00  votes 5 5  chosen" in lines
    assert "  answer 2  score 4.00  votes 4 4  rejected" in lines
    assert "  answer 1  unscored (unparsed)  votes - -" in lines
    assert not [line for line in lines if "I say" in line]


def test_one_prompt_is_shown_whole_with_what_every_vote_says(store: ArtifactStore) -> None:
    output = _look(store, "--prompt", "bad").output
    assert output.count("word") == 200
    assert output.count("vote 1: unparsed") == output.count("vote 2: 1") == 1
    assert "I say None." in output
    missing = _look(store, "--prompt", "none")
    assert missing.exit_code == 1
    assert missing.output == "run mine has no prompt 'none' of stage M2 (runs/mine/rollouts/M2.jsonl, 3 prompts)\n"


def test_two_choices_at_once_are_refused(store: ArtifactStore) -> None:
    assert _look(store, "--worst", "--unscored").exit_code == 2
