"""The worker and the barrier: real Redis and the real judge; only the engine behind them is a stand-in."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from orchestrator.phases.ask_workers import run_tasks
from orchestrator.runs.errors import RunFailed, RunStopped
from orchestrator.runs.results import Results
from orchestrator.runs.state import ask_to_stop
from selfreward.client.http import WrongPolicyVersion
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response, Rollout
from selfreward.loop.tasks import PromptItem, Task, eft_tasks
from tests.support.orchestrator_bench import RECIPE, bench, length_becomes, working


def test_prompts_are_answered_and_judged_by_the_pinned_version_many_at_a_time(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            tasks = b.tasks(24)
            rollouts, failed = await asyncio.wait_for(run_tasks(b.context, tasks), 20)
            assert failed == {}
            assert [rollout.key for rollout in rollouts] == [task.key for task in tasks]
            assert all(len(rollout.responses) == len(rollout.judgments) == 4 for rollout in rollouts)
            assert {rollout.policy_version for rollout in rollouts} == {rollout.judge_version for rollout in rollouts}
            assert [vote.score for vote in rollouts[0].judgments[0].votes] == [0, 1, 2]
            assert {body["model"] for body in b.engine.bodies} == {"policy@3"}
            assert all("seed" in body for body in b.engine.bodies)
            assert b.engine.most_inflight > 8
            assert await b.queue.length() == 0

    asyncio.run(main())


def test_hundreds_of_prompts_that_end_at_once_do_not_run_out_of_redis_connections(
    redis_url: str, store_root: str
) -> None:
    """Each ends with a few commands of its own; a pool that refuses a surplus fails here."""

    async def main() -> None:
        async with bench(redis_url, store_root, worker_concurrency=400) as b, working(b.worker):
            results = Results(b.worker.redis, "one", "M2", "rollouts")
            rollout = await b.worker.perform(b.tasks(1)[0])
            copies = [rollout.model_copy(update={"key": str(number)}) for number in range(400)]
            store = b.worker.redis.hset
            await asyncio.gather(*(store(results.key, copy.key, copy.model_dump_json()) for copy in copies))
            rollouts, _ = await asyncio.wait_for(run_tasks(b.context, b.tasks(300)), 60)
            assert len(rollouts) == 300

    asyncio.run(main())


def test_an_item_that_breaks_costs_no_other_and_is_delivered_again(
    redis_url: str, store_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1) as b, working(b.worker):
            perform, broken = b.worker.perform, {"p3"}

            async def once_broken(task: Task, last: bool = False) -> Rollout:
                if task.prompt_id in broken:
                    broken.remove(task.prompt_id)
                    raise RedisConnectionError("gone for a moment")
                return await perform(task, last)

            monkeypatch.setattr(b.worker, "perform", once_broken)
            before = len(b.engine.bodies)
            rollouts, failed = await asyncio.wait_for(run_tasks(b.context, b.tasks(8)), 20)
            assert (len(rollouts), failed, broken) == (8, {}, set())
            assert len(b.engine.bodies) - before == 8 * (1 + 4)  # no prompt was asked twice

    asyncio.run(main())


def test_a_worker_ends_though_its_heartbeat_swallows_a_cancellation(
    redis_url: str, store_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=0.03) as b:
            beating = asyncio.Event()

            async def stubborn(*_: object) -> None:
                try:
                    beating.set()
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    raise RedisConnectionError("lost while cancelled") from None

            monkeypatch.setattr(b.worker.queue, "heartbeat", stubborn)
            b.engine.fail = lambda _: not beating.is_set()
            async with asyncio.timeout(120), working(b.worker):
                task = asyncio.create_task(run_tasks(b.context, b.tasks(40)))
                await beating.wait()
                task.cancel()

    asyncio.run(main())


def test_given_answers_are_judged_only(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            prompt = [Message(role="user", content="q")]
            item = PromptItem(prompt_id="e0", prompt=prompt, responses=[Response(text="good"), Response(text="bad")])
            (rollout,), _ = await run_tasks(b.context, eft_tasks("one", RECIPE, "M2", [item], "policy@3"))
            assert [response.text for response in rollout.responses] == ["good", "bad"]
            assert [len(judgment.votes) for judgment in rollout.judgments] == [RECIPE.eft.judgments] * 2
            assert len(b.engine.bodies) == 2

    asyncio.run(main())


@pytest.mark.parametrize("judged", [True, False])
def test_given_answers_stand_after_the_sampled_ones(redis_url: str, store_root: str, judged: bool) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            (task,) = b.tasks(1)
            changes = {"responses": [Response(text="demonstration")], "judge": task.judge if judged else None}
            rollout = await b.worker.perform(task.model_copy(update=changes))
            assert [response.text for response in rollout.responses][3:] == ["answer 3", "demonstration"]
            assert len(rollout.judgments) == (5 if judged else 0)

    asyncio.run(main())


def test_an_outside_annotator_judges_under_its_own_name(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            (task,) = b.tasks(1)
            assert task.judge is not None
            outside = task.judge.model_copy(update={"annotator": "engine"})
            given = {"generate": None, "responses": [Response(text="answer")]}
            b.engine.version = "policy"  # what the judge asks its engine for when a request pins nothing
            with pytest.raises(WrongPolicyVersion):
                await b.worker.perform(task.model_copy(update=given))
            rollout = await b.worker.perform(task.model_copy(update={**given, "judge": outside}))
            assert (rollout.policy_version, rollout.judge_version) == ("policy@3", "policy")
            assert [vote.score for vote in rollout.judgments[0].votes] == [0, 1, 2]

    asyncio.run(main())


def test_work_of_a_dead_worker_is_done_by_another_and_counts_once(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1) as b:
            tasks = b.tasks(6)
            barrier = asyncio.create_task(run_tasks(b.context, tasks))
            await length_becomes(b.queue, len(tasks))
            taken = await b.queue.take("killed", count=4)
            # This one's acknowledgement was lost with the last second of a machine that broke, its effect was not.
            effect = (await b.worker.perform(tasks[0])).model_dump_json()
            await b.worker.redis.hset(Results(b.worker.redis, "one", "M2", "rollouts").key, tasks[0].key, effect)
            assert len(taken) == 4
            before = len(b.engine.bodies)
            async with working(b.worker):
                rollouts, _ = await asyncio.wait_for(barrier, 20)
            assert [rollout.key for rollout in rollouts] == [task.key for task in tasks]
            assert len(b.engine.bodies) - before == 5 * (1 + 4), "what has a result is not done again"
            assert await b.queue.length() == 0

    asyncio.run(main())


def test_a_phase_larger_than_the_backlog_holds_the_rest_back(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, backlog=5, worker_concurrency=4) as b:
            barrier = asyncio.create_task(run_tasks(b.context, b.tasks(23)))
            await length_becomes(b.queue, 5)
            await asyncio.sleep(0.1)
            assert await b.queue.length() == 5
            async with working(b.worker):
                rollouts, failed = await asyncio.wait_for(barrier, 20)
            assert ([rollout.prompt_id for rollout in rollouts], failed) == ([f"p{n}" for n in range(23)], {})

    asyncio.run(main())


def test_finished_prompts_are_not_done_again_after_a_restart(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            await run_tasks(b.context, b.tasks(4))
            before = len(b.engine.bodies)
            rollouts, _ = await run_tasks(b.context, b.tasks(5))
            assert len(rollouts) == 5
            assert len(b.engine.bodies) - before == 1 + 4

    asyncio.run(main())


def test_a_version_that_is_not_served_is_waited_for(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, policy_wait_s=10) as b, working(b.worker):
            b.engine.version = "policy@2"
            barrier = asyncio.create_task(run_tasks(b.context, b.tasks(3)))
            await asyncio.sleep(0.3)
            assert not barrier.done()
            b.engine.version = "policy@3"
            rollouts, failed = await asyncio.wait_for(barrier, 20)
            assert len(rollouts) == 3
            assert failed == {}

    asyncio.run(main())


def test_a_prompt_that_always_fails_is_accounted_for_with_its_reason(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with (
            bench(redis_url, store_root, claim_after_s=1, deliveries=2, tolerated_failures=0.5) as b,
            working(b.worker),
        ):
            b.engine.fail = lambda prompt: prompt == "question 1"
            rollouts, failed = await asyncio.wait_for(run_tasks(b.context, b.tasks(4)), 20)
            assert [rollout.prompt_id for rollout in rollouts] == ["p0", "p2", "p3"]
            assert "refused by the stand-in" in failed[b.tasks(4)[1].key]

    asyncio.run(main())


def test_too_many_failures_fail_the_run_with_an_example(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1, deliveries=2) as b, working(b.worker):
            b.engine.fail = lambda _: True
            with pytest.raises(RunFailed, match="refused by the stand-in"):
                await asyncio.wait_for(run_tasks(b.context, b.tasks(3)), 20)

    asyncio.run(main())


def test_answers_whose_judging_failed_are_tried_again_and_at_last_unscored(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1, deliveries=2) as b, working(b.worker):
            b.engine.fail = lambda prompt: "Score" in prompt and "answer 2" in prompt
            (rollout,), failed = await asyncio.wait_for(run_tasks(b.context, b.tasks(1)), 20)
            assert failed == {}
            assert [judgment.score is None for judgment in rollout.judgments] == [False, False, True, False]
            assert rollout.judgments[2].failure_kind == "error"
            assert sum(body["messages"][-1]["content"] == "question 0" for body in b.engine.bodies) == 2

    asyncio.run(main())


def test_an_answer_over_the_judges_context_is_unscored_and_costs_no_second_try(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1, deliveries=2) as b, working(b.worker):
            b.engine.fail = lambda prompt: "Score" in prompt and "answer 2" in prompt
            b.engine.why = "This model's maximum context length is 8 tokens"
            (rollout,), failed = await asyncio.wait_for(run_tasks(b.context, b.tasks(1)), 20)
            assert failed == {}
            assert [judgment.failure_kind for judgment in rollout.judgments] == [None, None, "too_long", None]
            assert sum(body["messages"][-1]["content"] == "question 0" for body in b.engine.bodies) == 1

    asyncio.run(main())


def test_a_judge_whose_engine_refuses_its_key_fails_the_run_without_a_second_try(
    redis_url: str, store_root: str
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1) as b, working(b.worker):
            b.engine.fail = lambda prompt: "Score" in prompt
            b.engine.status = 401
            with pytest.raises(RunFailed, match="SELFREWARD_JUDGE_ENGINE_KEY"):
                await asyncio.wait_for(run_tasks(b.context, b.tasks(1)), 20)
            assert sum(body["messages"][-1]["content"] == "question 0" for body in b.engine.bodies) == 1

    asyncio.run(main())


def test_a_stop_ends_the_wait_and_drops_the_queued_prompts(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            barrier = asyncio.create_task(run_tasks(b.context, b.tasks(5)))
            await length_becomes(b.queue, 5)
            await ask_to_stop(b.worker.redis, "one")
            with pytest.raises(RunStopped):
                await asyncio.wait_for(barrier, 20)
            async with working(b.worker):
                await length_becomes(b.queue, 0)
            assert b.engine.bodies == []

    asyncio.run(main())


def test_a_body_that_is_no_task_is_a_dead_letter_at_once(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            await b.queue.open()
            await b.queue.put("bad", {"key": "bad"})
            await length_becomes(b.queue, 0)
            assert "not a task" in (await b.queue.dead())[0]["error"]

    asyncio.run(main())
