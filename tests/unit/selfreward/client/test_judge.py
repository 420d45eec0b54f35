"""The judge's clients against a judge that listens: one call, streams in order with bounded memory, errors."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from starlette.responses import Response

from selfreward import AsyncJudgeClient, JudgeClient, JudgeItem, ServiceError
from selfreward.client.http import ServiceClient
from selfreward.contracts.comparisons import MetaItem, PairItem, RankItem
from tests.support.judge_engine import Engine, completion
from tests.support.listening import listening_judge


def test_one_call_judges_pairs(url: str) -> None:
    with JudgeClient(url) as client:
        answer = client.judge([("prompt", "xx"), ("prompt", "xxxx")], rubric="countdown", votes=2)

    assert [judgment.score for judgment in answer.data] == [2, 4]
    assert [len(judgment.votes) for judgment in answer.data] == [2, 2]
    assert answer.judge_version == "policy@7"


def test_items_and_chat_messages_are_judged_too(url: str) -> None:
    turns = [{"role": "user", "content": "p", "name": "me"}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "xxx"}]}]
    with JudgeClient(url) as client:
        answer = client.judge([JudgeItem(id="mine", prompt="p", response="x"), (turns, parts)], rubric="countdown")

    assert [(judgment.id, judgment.score) for judgment in answer.data] == [("mine", 1), ("1", 3)]


def test_it_works_where_a_loop_runs_already(url: str) -> None:
    async def notebook() -> float | None:
        with JudgeClient(url) as client:
            return client.judge([("p", "xx")], rubric="countdown").data[0].score

    assert asyncio.run(notebook()) == 2


def test_a_stream_comes_in_order_and_is_read_no_further_than_needed(url: str) -> None:
    read: list[int] = []

    def endless() -> Iterator[tuple[str, str]]:
        while True:
            read.append(len(read))
            yield "p", "x" * (1 + len(read) % 5)

    with JudgeClient(url) as client:
        stream = client.judge_many(endless(), batch_size=4, in_flight=3, rubric="countdown", votes=2)
        taken = [next(stream) for _ in range(50)]
        assert len(read) <= 50 + 4 * 3
        stream.close()  # type: ignore[attr-defined]

    assert [judged.judgment.index for judged in taken] == list(range(50))
    assert [judged.judgment.score for judged in taken] == [len(str(judged.item.response)) for judged in taken]
    assert taken[0].rubric.startswith("countdown@sha256:")


def test_the_async_stream_takes_both_kinds_of_iterables(url: str) -> None:
    async def produced() -> AsyncIterator[tuple[str, str]]:
        for index in range(10):
            yield "p", "x" * (index % 5 + 1)

    async def scenario() -> None:
        pairs = [("p", "x" * (index % 5 + 1)) for index in range(10)]
        async with AsyncJudgeClient(url) as client:
            for source in (produced(), pairs):
                stream = client.judge_stream(source, batch_size=3, in_flight=2, rubric="countdown")
                assert [judged.judgment.score async for judged in stream] == [1, 2, 3, 4, 5] * 2

    asyncio.run(scenario())


def test_leaving_a_stream_early_leaves_nothing_running(url: str) -> None:
    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            stream = client.judge_stream([("p", "x")] * 100, batch_size=2, in_flight=4, rubric="countdown")
            async for _ in stream:
                break
            await stream.aclose()  # type: ignore[attr-defined]
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_seeds_do_not_depend_on_the_batches(url: str, engine: Engine) -> None:
    pairs = [("p", "x"), ("p", "xx"), ("p", "xxx"), ("p", "xxxx")]
    seeds = []
    with JudgeClient(url) as client:
        for size in (1, 3):
            engine.bodies.clear()
            list(client.judge_many(pairs, batch_size=size, in_flight=1, rubric="countdown", seed=3))
            seeds.append({body["messages"][0]["content"]: body["seed"] for body in engine.bodies})

    assert seeds[0] == seeds[1]
    assert len(set(seeds[0].values())) == 4


def test_the_wire_names_what_is_wrong(url: str) -> None:
    with JudgeClient(url) as client:
        with pytest.raises(ServiceError, match=r"rubric 'none' is not known: use one of"):
            client.judge([("p", "x")], rubric="none")
        with pytest.raises(ServiceError, match=r"rubric 'none' is not known"):
            list(client.judge_many([("p", "x")] * 3, batch_size=1, rubric="none"))
        assert client.rubric("countdown")["scale"] == {"min": 0, "max": 5}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("p", 5), r"response = 5: give a text, or a list of messages"),
        (
            ([{"role": "human", "content": "x"}], "r"),
            r"prompt\[0\]\.role = 'human': use one of system, developer, user",
        ),
        (
            ([{"role": "user", "content": [{"type": "image"}]}], "r"),
            r"prompt\[0\]\.content\[0\] = .*only text can be judged",
        ),
        ((["hello"], "r"), r"prompt\[0\] = 'hello': give a message with role and content"),
    ],
)
def test_what_cannot_be_judged_is_named(pair: Any, message: str) -> None:
    with JudgeClient("http://127.0.0.1:9") as client, pytest.raises(ValueError, match=message):
        client.judge([pair])


def test_too_many_for_one_request_names_the_way_out() -> None:
    with JudgeClient("http://127.0.0.1:9") as client, pytest.raises(ValueError, match=r"1025 entries.*judge_many"):
        client.judge([("p", "r")] * 1025)


def test_address_and_key_come_from_the_environment_together(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    with listening_judge(engine, api_key="secret") as address:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", address)
        monkeypatch.setenv("SELFREWARD_API_KEY", "secret")
        with JudgeClient() as client:
            assert client.judge([("p", "r")], rubric="countdown").data[0].score == 4
        with JudgeClient(address) as client, pytest.raises(ServiceError, match="API key is missing"):
            client.judge([("p", "r")], rubric="countdown")


def test_deadlines_and_retries_are_the_service_clients() -> None:
    async def scenario() -> None:
        async with ServiceClient("http://127.0.0.1:9", attempts=2, base_delay=0.001) as service:
            async with AsyncJudgeClient(service) as client:
                with pytest.raises(ServiceError, match="failed 2 times"):
                    await client.judge([("p", "r")])
            with pytest.raises(ServiceError, match="failed 2 times"):  # closed would be another error
                await service.request("GET", "/")

    asyncio.run(scenario())


def test_a_client_used_before_a_fork_says_so_after_it(url: str) -> None:
    with JudgeClient(url) as client:
        client.judge([("p", "x")], rubric="countdown")
        child = os.fork()
        if child == 0:
            try:
                client.judge([("p", "x")], rubric="countdown")
            except RuntimeError as error:
                os._exit(0 if "make one in each process" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.judge([("p", "x")], rubric="countdown").data[0].score == 1


def test_two_answers_are_compared_in_both_orders(url: str) -> None:
    with JudgeClient(url) as client:
        verdicts = client.compare([("p", "xx", "x"), ("p", "x", "xx"), ("p", "x", "x")], rubric="pairwise")

    assert [(one.winner, one.position_consistent, one.p_a) for one in verdicts] == [
        ("a", True, 1.0),
        ("b", True, 0.0),
        ("tie", True, 0.5),
    ]


def test_pairs_may_be_items_and_one_order_can_be_enough(url: str, engine: Engine) -> None:
    with JudgeClient(url) as client:
        engine.bodies.clear()
        (verdict,) = client.compare([PairItem(id="mine", prompt="p", a="xx", b="x")], swap=False, max_tokens=9)

    assert (verdict.id, verdict.winner, verdict.position_consistent) == ("mine", "a", None)
    assert [sent["max_tokens"] for sent in engine.bodies] == [9]


LONGER_JUDGMENT = ("p", "r", "It is right in each step. Score: 5", "Score: 1")


def by_words(sent: dict[str, Any]) -> Response:
    """Of two judgments the longer one wins; candidates are ranked by their lengths."""
    text = sent["messages"][0]["content"]
    if "<judgment_a>" in text:
        a, b = (len(text.split(f"<judgment_{side}>")[1].split("</")[0]) for side in "ab")
        return completion(*[f"Winner: Judgment {'A' if a > b else 'B'}"] * sent["n"])
    candidates = {part.split("</candidate>")[0].strip() for part in text.split("<candidate ")[1:]}
    numbers = [one.split(">")[0] for one in sorted(candidates, key=len, reverse=True)]
    return completion(*["Ranking: " + " > ".join(numbers)] * sent["n"])


def test_judgments_are_compared_and_candidates_ranked() -> None:
    with listening_judge(Engine(by_words)) as address, JudgeClient(address) as client:
        verdicts = client.meta([LONGER_JUDGMENT, MetaItem(prompt="p", response="r", judgment_a="x", judgment_b="xx")])
        ranks = client.rank(
            [("p", ["xx", "xxx", "x"]), RankItem(id="mine", prompt="p", candidates=["x", "xx"])], votes=1
        )

    assert [(one.winner, one.position_consistent) for one in verdicts] == [("a", True), ("b", True)]
    assert [(one.id, one.order, one.position_consistent) for one in ranks] == [
        ("0", [1, 0, 2], True),
        ("mine", [1, 0], True),
    ]


def test_the_async_client_compares_and_ranks_too(url: str) -> None:
    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            (pair,) = await client.compare([("p", "x", "xx")])
            (ranked,) = await client.rank([("p", ["x", "xxx", "xx"])], rubric="countdown")
            assert (pair.winner, ranked.order, ranked.scores) == ("b", [1, 2, 0], [1, 3, 2])
        with listening_judge(Engine(by_words)) as address:
            async with AsyncJudgeClient(address) as client:
                (verdict,) = await client.meta([LONGER_JUDGMENT])
                assert verdict.winner == "a"

    asyncio.run(scenario())


def test_what_cannot_be_compared_is_named() -> None:
    with JudgeClient("http://127.0.0.1:9") as client:
        with pytest.raises(ValueError, match=r"candidates\[1\] = 5: give a text"):
            client.rank([("p", ["x", cast(str, 5)])])
        with pytest.raises(ValueError, match=r"response = 5: give a text"):
            client.meta([("p", cast(str, 5), "x", "y")])
        with pytest.raises(ValueError, match="items has 0 entries, 1 to 1024 are allowed"):
            client.compare([])
