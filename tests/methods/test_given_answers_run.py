"""Methods whose rounds see answers of others: a teacher, the model that was and the one to come."""

from pathlib import Path

import pytest

from tests.methods.whole_run import small, violations, whole_run

pytestmark = pytest.mark.methods


@pytest.mark.timeout(900)
def test_a_temporal_round_rejects_the_past_and_may_choose_the_future(tmp_path: Path) -> None:
    ended = whole_run(small("temporal", tmp_path, ["loop.iterations=1", "pairs.judge_pairs=0.5"]), tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    models = ended.store.read_json(f"runs/{ended.run}/run.json")["models"]
    assert [model["name"] for model in models] == ["M0", "SFT", "M1", "F2", "M2"]
    past = {row["prompt_id"]: {answer["text"] for answer in row["responses"]} for row in ended.rows("data/past.jsonl")}
    assert len(past) == 16
    first = {row["prompt_id"]: row["rejected"] for row in ended.rows("pairs/F2.jsonl") if row["kind"] == "actor"}
    second = {row["prompt_id"]: row["rejected"] for row in ended.rows("pairs/M2.jsonl") if row["kind"] == "actor"}
    assert first.items() <= second.items()
    rollouts = ended.rows("rollouts/F2.jsonl")
    own = {row["prompt_id"]: {answer["text"] for answer in row["responses"][:4]} for row in rollouts}
    assert all(row[0]["content"] in past[prompt] | own[prompt] for prompt, row in second.items())
    assert all(len(row["responses"]) == 8 for row in rollouts)
    future = ended.rows("rollouts/M2.jsonl")
    versions = {model["name"]: model["policy_version"] for model in models}
    assert {row["judge_version"] for row in future} == {versions["M1"]}


@pytest.mark.timeout(900)
def test_a_dno_round_prefers_by_margins_with_a_teacher_among_the_answers(tmp_path: Path) -> None:
    overrides = ["loop.iterations=1", f'data.prompts="{tmp_path / "ift.jsonl"}"', "pairs.min_chosen_score=1"]
    ended = whole_run(small("dno", tmp_path, [*overrides, "pairs.margin=1"]), tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    assert all(len(row["responses"]) == 6 for row in ended.rows("rollouts/M2.jsonl"))
    actor = [row for row in ended.rows("pairs/M2.jsonl") if row["kind"] == "actor"]
    assert all(row["score_chosen"] >= 1 for row in actor)
    assert all(row["score_chosen"] - row["score_rejected"] >= 1 for row in actor)
