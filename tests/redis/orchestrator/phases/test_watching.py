"""Alarms that warn, pause, stop and roll back, on a real Redis and real artifacts. The generator is a stand-in.

Everything before the watch phase is in the journal, as a run that came that far has it.
"""

import pytest

from orchestrator import machine
from orchestrator.phases import watching as watch
from orchestrator.runs.context import RunContext
from orchestrator.runs.state import acknowledge, ask_to_run, ask_to_stop, public, stopped_runs
from selfreward.loop.record import RunState
from selfreward.redis.announcements import announced, current
from selfreward.redis.connection import RedisClient
from tests.support.factories import voted
from tests.support.watched_run import GOOD, Crash, ended, messages, on_run, recipe


async def resumed(context: RunContext, state: RunState) -> RunState:
    """What `POST /v1/runs/one/resume` does, and then the leader."""
    await acknowledge(context.services.redis, "one", state.halted_by)
    await ask_to_run(context.services.redis, "one")
    return await ended(context)


async def served(redis: RedisClient) -> str:
    record = await current(redis)
    assert record is not None
    return (await announced(redis, record.version)).artifact


def test_a_warning_is_told_once_and_the_run_goes_on(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        state = await ended(context)
        assert state.state == "done"
        assert [(alarm.stage, alarm.watchdog, alarm.value) for alarm in state.alarms] == [("M2", "judge_drift", 1.0)]
        reported = [event for event in await messages(context) if "watchdog judge_drift in M2" in event["message"]]
        assert len(reported) == 1
        record = context.services.store.read_json("runs/one/run.json")
        assert record["alarms"][0]["threshold"] == 0.05

    on_run(redis_url, store_root, recipe(), check)


@pytest.mark.parametrize(("action", "expected"), [("pause", "paused"), ("stop", "stopped")])
def test_a_halted_run_says_why_and_goes_on_past_that_alarm_only_when_resumed(
    redis_url: str, store_root: str, action: str, expected: str
) -> None:
    async def check(context: RunContext) -> None:
        redis = context.services.redis
        state = await ended(context)
        assert state.state == expected
        assert state.message.startswith(f"{expected} by watchdog judge_drift in M2: pairwise accuracy")
        assert "`selfreward resume one`" in state.message
        assert not state.finished("M2", "watch_model")
        assert public(state, await stopped_runs(redis))["state"] == expected
        assert (await messages(context))[-1]["state"] == expected
        after = await resumed(context, state)
        assert (after.state, after.halted_by) == ("done", [])
        assert len(after.alarms) == 1
        assert after.finished("M2", "watch_model")

    on_run(redis_url, store_root, recipe(judge_drift={"action": action}), check)


def test_an_alarm_that_nobody_acknowledged_ends_the_run_again(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        state = await ended(context)
        await acknowledge(context.services.redis, "one", ["M1/watch_model/judge_drift"])
        await ask_to_run(context.services.redis, "one")
        assert (await ended(context)).state == state.state == "paused"

    on_run(redis_url, store_root, recipe(judge_drift={"action": "pause"}), check)


def test_a_rollback_serves_the_best_judge_of_human_ranks_and_keeps_the_lineage(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        redis = context.services.redis
        assert await served(redis) == "runs/one/weights/M2"
        state = await ended(context)
        assert state.state == "rolled_back"
        assert state.message.startswith("rolled back to M1 (policy@2), the best judge")
        assert await served(redis) == "runs/one/weights/M1"
        assert [model.name for model in state.models] == ["M0", "SFT", "M1", "M2"]
        assert (await resumed(context, state)).state == "done"

    on_run(redis_url, store_root, recipe(judge_drift={"action": "rollback"}), check)


@pytest.mark.parametrize("place", ["serve", "ask_to_stop"])
def test_a_crash_between_decision_and_effect_ends_in_the_same_place(
    redis_url: str, store_root: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Before the best model is served, or when the end is on record and nothing keeps the leader from the run."""
    module = watch if place == "serve" else machine

    async def crash(*_: object) -> None:
        raise Crash

    async def check(context: RunContext) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, place, crash)
            with pytest.raises(Crash):
                await ended(context)
        assert await stopped_runs(context.services.redis) == set()
        state = await ended(context)
        assert state.state == "rolled_back"
        assert await served(context.services.redis) == "runs/one/weights/M1"
        assert len(state.alarms) == 1
        assert sum("watchdog" in event["message"] and "state" not in event for event in await messages(context)) == 1

    on_run(redis_url, store_root, recipe(judge_drift={"action": "rollback"}), check)


def test_ties_of_a_round_are_watched_before_it_is_trained(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        store = context.services.store
        store.write_jsonl("runs/one/rollouts/M2.jsonl", [voted("p", *GOOD).model_dump(mode="json")])
        store.write_json("runs/one/iterations/M2.json", {"kept": 1, "ties": 3, "below_margin": 0, "filtered": 0})
        cut = [entry.phase for entry in context.state.journal if entry.stage == "M2"].index("watch_pairs")
        before = len([entry for entry in context.state.journal if entry.stage != "M2"]) + cut
        await context.update(journal=context.state.journal[:before], models=context.state.models[:-1])
        state = await ended(context)
        assert (state.state, state.phase) == ("stopped", "watch_pairs")
        assert "75% of the prompts give no pair" in state.message

    on_run(redis_url, store_root, recipe(ties={"action": "stop"}), check)


def test_a_person_who_stops_the_run_has_acknowledged_nothing(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        await ask_to_stop(context.services.redis, "one")
        state = await ended(context)
        assert (state.state, state.halted_by) == ("stopped", [])
        assert (await resumed(context, state)).state == "paused"

    on_run(redis_url, store_root, recipe(judge_drift={"action": "pause"}), check)


def test_a_run_whose_update_is_lost_in_serving_is_stopped(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        last = context.state.models[-1].model_copy(update={"update_kept": 0.018})
        await context.update(models=[*context.state.models[:-1], last])
        state = await ended(context)
        assert state.state == "stopped"
        assert "watchdog update_kept in M2: the served weights keep 1.8% of the training's update" in state.message
        assert context.services.store.read_json("runs/one/run.json")["models"][-1]["update_kept"] == 0.018

    on_run(redis_url, store_root, recipe(), check)
