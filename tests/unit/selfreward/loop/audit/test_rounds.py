"""What the auditor says of a round's rollouts."""

from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe, rollout


def test_the_auditor_misses_the_given_answer_of_a_rollout(store_root: str) -> None:
    store = ArtifactStore(store_root)
    run_recipe = recipe(method="dno", sampling={"n": 2}, judging={"votes": 1})
    row = rollout({"own": [1], "teacher": [5]})
    store.write_jsonl(paths.data("one", "prompts-M2"), [{"prompt_id": row.prompt_id}])
    store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json")])
    assert next(check_stage(store, "one", run_recipe, "M2", "policy@1")).detail == "not 3 answers: ['p0']"
