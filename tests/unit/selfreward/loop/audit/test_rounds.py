"""What the auditor says of a round's rollouts."""

from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_evaluation, check_stage
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe, rollout


def test_the_auditor_misses_the_given_answer_of_a_rollout(store_root: str) -> None:
    store = ArtifactStore(store_root)
    run_recipe = recipe(method="dno", sampling={"n": 2}, judging={"votes": 1})
    row = rollout({"own": [1], "teacher": [5]})
    store.write_jsonl(paths.data("one", "prompts-M2"), [{"prompt_id": row.prompt_id}])
    store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json")])
    assert next(check_stage(store, "one", run_recipe, "M2", "policy@1")).detail == "not 3 answers: ['p0']"


def test_the_base_model_answers_the_held_out_prompts_and_judges_nothing(store_root: str) -> None:
    store = ArtifactStore(store_root)
    run_recipe = recipe(evaluation={"prompts": 1, "samples": 2})
    row = rollout({"a": [], "b": []})
    answers = row.model_copy(update={"judgments": []})
    for name, rows in (("heldout", [row.prompt_id]), ("eft_eval", ["e0"])):
        store.write_jsonl(paths.data("one", name), [{"prompt_id": prompt_id} for prompt_id in rows])
    greedy = answers.model_copy(update={"responses": answers.responses[:1]})
    for part, written in (("samples", answers), ("greedy", greedy)):
        store.write_jsonl(paths.evaluation("one", "M0", part), [written.model_dump(mode="json")])
    assert list(check_evaluation(store, "one", run_recipe, "M0", "policy@1")) == []
    store.write_jsonl(paths.evaluation("one", "M0", "samples"), [row.model_dump(mode="json")])
    (found,) = check_evaluation(store, "one", run_recipe, "M0", "policy@1")
    assert (found.kind, found.artifact) == ("policy", "runs/one/evaluation/M0/samples.jsonl")
