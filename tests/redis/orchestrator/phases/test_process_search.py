"""The search of `process`: through real queues, step by step to an answer, back where nothing wins, and audited."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases.ask_workers import run_all
from orchestrator.worker.worker import JudgingFailed
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import method_of
from selfreward.loop.methods.plan import table
from selfreward.loop.methods.process import ProcessRules, build_pairs, monitors
from selfreward.loop.tasks import PromptItem, Task
from selfreward.store.artifacts import ArtifactStore
from tests.support.methods import rollout_tasks
from tests.support.orchestrator_bench import bench, working
from tests.support.steps import MORE, said

ASKED = [Message(role="user", content="question 0")]
RECIPE = RunRecipe.model_validate(
    {
        "name": "r",
        "method": "process",
        "model": "m",
        "data": {"ift": "i", "prompts": "p", "heldout": "h"},
        "loop": {"use_eft": False, "iterations": 1},
        "sampling": {"n": 3, "temperature": 0.5, "top_p": 0.95, "max_tokens": 8},
        "process": {"separator": MORE, "max_steps": 3, "judging": {"max_tokens": 32}},
    }
)


STEPS = {
    "": ["1 ;", "2 ;", "3 ;"],
    "3 ;": [" 4 ;", " 5 ;", " 5 ;"],
    "3 ; 5 ;": [" 6", " 7 ;", " 6"],
}
"""What the stand-in engine writes next, by the beginning of the answer. Its judge prefers the greater last number."""


def greater(asked: str) -> str:
    a, b = (int(re.findall(r"\d+", text)[-1]) for text in re.findall(r"<response_.>\n(.*)\n</response_.>", asked))
    return "A" if a > b else "B"


def task() -> Task:
    item = PromptItem(prompt_id="p0", prompt=ASKED)
    (made_task,) = rollout_tasks("one", RECIPE, "M2", [item], "policy@3")
    return made_task


def find(redis_url: str, store_root: str, steps: dict[str, list[str]]) -> tuple[Rollout, list[dict[str, Any]]]:
    """What a search comes to on the stand-in engine, and the requests for steps that it made."""

    async def main() -> tuple[Rollout, list[dict[str, Any]]]:
        async with bench(redis_url, store_root) as b:
            b.engine.steps, b.engine.winner = steps, greater
            rollout = await b.worker.perform(task())
            return rollout, [body for body in b.engine.bodies if "stop" in body]

    return asyncio.run(main())


def test_each_step_continues_the_best_one_before_it(redis_url: str, store_root: str) -> None:
    rollout, requests = find(redis_url, store_root, STEPS)
    assert [step.chosen for step in rollout.steps] == [2, 1, 1]
    (response,) = rollout.responses
    assert (response.text, response.finish_reason) == ("3 ; 5 ; 7 ;", "length")
    assert [body["messages"][-1] for body in requests] == [
        {"role": "user", "content": "question 0"},
        {"role": "assistant", "content": "3 ;"},
        {"role": "assistant", "content": "3 ; 5 ;"},
    ]
    assert [body.get("continue_final_message") for body in requests] == [None, True, True]
    assert [body.get("add_generation_prompt") for body in requests] == [None, False, False]
    assert {(body["n"], body["temperature"], body["top_p"], body["max_tokens"]) for body in requests} == {
        (3, 0.5, 0.95, 8)
    }
    assert all(body["stop"] == [MORE] and body["include_stop_str_in_output"] for body in requests)
    assert len({body["seed"] for body in requests}) == 3
    assert (rollout.rubric or "").startswith("pairwise@")
    pairs, _ = build_pairs([rollout], MORE)
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [
        ("3 ;", "1 ;"),
        (" 5 ;", " 4 ;"),
        (" 7 ;", " 6"),
    ]


class Draws(dict[str, list[str]]):
    """Steps of which each beginning has several, one after the other; the last of them again and again."""

    def __init__(self, draws: dict[str, list[list[str]]]) -> None:
        super().__init__({begun: texts[0] for begun, texts in draws.items()})
        self._left = {begun: list(texts) for begun, texts in draws.items()}

    def __getitem__(self, begun: str) -> list[str]:
        left = self._left[begun]
        return left.pop(0) if len(left) > 1 else left[0]


def test_where_none_wins_the_step_before_is_sampled_anew(redis_url: str, store_root: str) -> None:
    same = [" 4 ;"] * 3
    draws = Draws({"": [["1 ;", "2 ;", "3 ;"], ["2 ;", "1 ;", "1 ;"]], "3 ;": [same], "2 ;": [[" 9", " 8", " 7 ;"]]})
    rollout, requests = find(redis_url, store_root, draws)
    assert [(step.chosen, step.dropped) for step in rollout.steps] == [(2, True), (None, True), (0, False), (0, False)]
    assert [body["messages"][-1]["content"] for body in requests] == ["question 0", "3 ;", "question 0", "2 ;"]
    assert len({body["seed"] for body in requests}) == 4, "the same seed would draw the dropped step again"
    (response,) = rollout.responses
    assert (response.text, response.finish_reason, response.tokens) == ("2 ; 9", "stop", 6)
    pairs, counts = build_pairs([rollout], MORE)
    assert [(pair.prompt[-1].content, pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [
        ("question 0", "2 ;", "1 ;"),
        ("2 ;", " 9", " 7 ;"),
    ]
    assert counts["kept"] == 1
    assert list(method_of(RECIPE).violations("one", RECIPE, "M2", [rollout], "policy@3", {})) == []
    figures = monitors([rollout], MORE)
    assert (figures["mean_steps"], figures["mean_backtracks"], figures["paired_steps"]) == (2, 1, 1)


def test_a_search_goes_back_only_so_often_and_then_on_with_the_first(redis_url: str, store_root: str) -> None:
    rollout, requests = find(redis_url, store_root, {"": ["1 ;", "1 ;", "2 ;"], "2 ;": [" 5"] * 3})
    # Three times back from the second step, each time with the first one; then the answer as it is.
    assert [step.dropped for step in rollout.steps] == [True] * 6 + [False] * 2
    assert len(requests) == 8 <= table(RECIPE, ProcessRules).most_steps
    assert (rollout.responses[0].text, rollout.responses[0].finish_reason) == ("2 ; 5", "stop")
    assert [pair.chosen[0].content for pair in build_pairs([rollout], MORE)[0]] == ["2 ;"]
    assert list(method_of(RECIPE).violations("one", RECIPE, "M2", [rollout], "policy@3", {})) == []


def test_a_repeated_search_draws_the_same(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            b.engine.steps, b.engine.winner = STEPS, greater
            first = await b.worker.perform(task())
            seeds = sorted(body["seed"] for body in b.engine.bodies)
            b.engine.bodies.clear()
            assert await b.worker.perform(task()) == first
            assert sorted(body["seed"] for body in b.engine.bodies) == seeds

    asyncio.run(main())


@pytest.mark.parametrize(
    ("texts", "ended"), [([" 8", " 4 ;", " 5 ;"], ("3 ; 8", "stop")), ([" ;", "", " "], ("3 ;", "length"))]
)
def test_a_search_ends_with_the_answer_or_where_no_candidate_can_be_used(
    redis_url: str, store_root: str, texts: list[str], ended: tuple[str, str]
) -> None:
    rollout, requests = find(redis_url, store_root, {**STEPS, "3 ;": texts})
    assert (rollout.responses[0].text, rollout.responses[0].finish_reason) == ended
    assert len(requests) == len(rollout.steps) == 2
    assert list(method_of(RECIPE).violations("one", RECIPE, "M2", [rollout], "policy@3", {})) == []


def test_a_search_is_tried_again_where_the_engine_failed_a_comparison(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            b.engine.steps = STEPS | {"1 ;": [" 8", " 8", " 8"]}
            b.engine.fail = lambda text: "Winner:" in text
            with pytest.raises(JudgingFailed, match="failed 6 comparisons of 3 pairs of steps"):
                await b.worker.perform(task())
            assert sum("stop" in body for body in b.engine.bodies) == 1
            rollout = await b.worker.perform(task(), last=True)
            assert {match.status for step in rollout.steps for match in step.matches} == {"error"}

    asyncio.run(main())


def _step(rollout: Rollout, **changes: Any) -> Rollout:
    return rollout.model_copy(update={"steps": [rollout.steps[0].model_copy(update=changes), *rollout.steps[1:]]})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda rollout: _step(rollout, chosen=0), "not the steps that the comparisons lead to: ['p0']"),
        (
            lambda rollout: _step(rollout, matches=rollout.steps[0].matches[1:]),
            "not every two candidates in both orders",
        ),
        (lambda rollout: _step(rollout, candidates=rollout.steps[0].candidates[:2]), "not every two candidates"),
        (
            lambda rollout: rollout.model_copy(update={"steps": rollout.steps[:2]}),
            "not the steps that the comparisons lead",
        ),
        (lambda rollout: _step(rollout, dropped=True), "not the steps that the comparisons lead"),
        (
            lambda rollout: rollout.model_copy(update={"responses": said("3 ;")}),
            "not the steps that the comparisons lead",
        ),
        (
            lambda rollout: rollout.model_copy(update={"judge_version": "policy@0"}),
            "compared by ['policy@0'], policy@3 was",
        ),
    ],
)
def test_the_auditor_finds_a_search_that_its_comparisons_do_not_lead_to(
    redis_url: str, store_root: str, harm: Callable[[Rollout], Rollout], message: str
) -> None:
    rollout, _ = find(redis_url, store_root, STEPS)
    assert list(method_of(RECIPE).violations("one", RECIPE, "M2", [rollout], "policy@3", {})) == []
    details = [
        violation.detail
        for violation in method_of(RECIPE).violations("one", RECIPE, "M2", [harm(rollout)], "policy@3", {})
    ]
    assert any(message in detail for detail in details), details


def test_a_round_of_searches_gives_the_pairs_that_the_auditor_finds_again(redis_url: str, store_root: str) -> None:
    items = [PromptItem(prompt_id=f"p{n}", prompt=[Message(role="user", content=f"question {n}")]) for n in range(4)]

    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            b.engine.steps, b.engine.winner = STEPS, greater
            store = b.context.services.store
            store.write_jsonl(
                paths.data("one", "prompts-M2"), [{"prompt_id": item.prompt_id, "prompt": []} for item in items]
            )
            state = b.context.state.model_copy(update={"recipe": RECIPE, "phase": "rollouts"})
            context = replace(b.context, state=state)
            rollouts = await asyncio.wait_for(
                run_all(context, rollout_tasks("one", RECIPE, "M2", items, "policy@3")), 60
            )
            store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json") for row in rollouts])
            await pairs_phase.pairs(replace(context, state=state.model_copy(update={"phase": "pairs"})))

    asyncio.run(main())
    store = ArtifactStore(store_root)
    assert list(check_stage(store, "one", RECIPE, "M2", "policy@3")) == []
    summary = store.read_json("runs/one/iterations/M2.json")
    assert (summary["kept"], summary["pairs"], summary["mean_steps"], summary["finished"]) == (4, 12, 3, 0)
    rows = list(store.read_jsonl(paths.pairs("one", "M2")))
    store.write_jsonl(paths.pairs("one", "M2"), rows[1:])
    assert [details.kind for details in check_stage(store, "one", RECIPE, "M2", "policy@3")] == ["pairs"]
