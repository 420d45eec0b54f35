"""Pairs of self-play: the demonstration against the policy's own answers."""

import pytest

from selfreward.loop.methods.spin import build_pairs, prompts_with_demonstrations
from tests.support.factories import rollout


def test_the_demonstration_is_chosen_and_each_other_answer_rejected_once() -> None:
    pairs, counts = build_pairs([rollout(["own", "own", "gold", "other", "gold"])])
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [
        ("gold", "own"),
        ("gold", "other"),
    ]
    assert counts == {"kept": 1, "tie": 0, "unscored": 0}
    assert {(pair.score_chosen, pair.score_rejected, pair.judge_version, pair.rubric) for pair in pairs} == {
        (1.0, 0.0, "", "")
    }


def test_answers_like_the_demonstration_and_blank_ones_give_no_pair() -> None:
    pairs, counts = build_pairs([rollout(["gold ", "gold"]), rollout([" ", "", "gold"])])
    assert pairs == []
    assert counts == {"kept": 0, "tie": 1, "unscored": 1}


def test_prompts_are_the_same_demonstrations_in_every_round_and_others_for_another_seed() -> None:
    ift = [{"prompt": [f"q{n}"], "completion": [{"role": "assistant", "content": f"a{n}"}]} for n in range(50)]
    rows = prompts_with_demonstrations(ift, 10, seed=0)
    assert rows == prompts_with_demonstrations(ift, 10, seed=0)
    assert rows != prompts_with_demonstrations(ift, 10, seed=1)
    assert len({row["prompt_id"] for row in rows}) == 10
    assert all(row["responses"][0]["text"][1:] == row["prompt"][0][1:] for row in rows)
    with pytest.raises(ValueError, match="Sample larger than population"):
        prompts_with_demonstrations(ift, 51, seed=0)
