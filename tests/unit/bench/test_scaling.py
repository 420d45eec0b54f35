"""The formula for replicas, and the stand-ins that it is measured with."""

import asyncio
import json
import random
import time

import pytest
from aiohttp.test_utils import TestServer

from bench.balancer import balanced
from bench.replica_tables import RESULT, tables
from bench.replicas import SETTINGS, Measurement, compare
from bench.scaling import Cpu, Engine, ItemWork, Lengths, Replicas, engine_rate, limits, lowest
from bench.stand_in import create_app, tokens_of
from selfreward.client.generator import Generation, GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.processes.child import free_port
from tests.support.places import ROOT

# 11 s for an answer, 3 s for a verdict, and nothing left to chance.
WORK = ItemWork(answers=2, votes=3, answer=Lengths(100, 100), verdict=Lengths(20, 20))
ENGINE = Engine(first_token=1, token=0.1, sequences=120)
NO_CPU = Cpu(0, 0, 0, 0)


def test_the_longest_of_several_lengths_is_that_of_drawn_ones() -> None:
    draw = random.Random(0)
    drawn = [max(draw.uniform(32, 64) for _ in range(12)) for _ in range(20_000)]

    assert Lengths(32, 64).longest(1) == 48
    assert Lengths(32, 64).longest(12) == pytest.approx(sum(drawn) / len(drawn), rel=0.005)


def test_each_part_allows_what_its_time_for_an_item_says() -> None:
    replicas = Replicas(orchestrators=3, judges=4, prompts=16, requests=8, engines=2, cores=6)

    allowed = limits(WORK, ENGINE, Cpu(orchestrator=0.5, judge=1.0, redis=0.1, rest=0.4), replicas)

    assert allowed == {
        # Two answers of 11 s and six verdicts of 3 s are 40 s of an engine's place.
        "engines": pytest.approx(2 * 120 / 40),
        # 11 s, then 3 s, and 1.5 s of computing.
        "prompts in flight": pytest.approx(3 * 16 / 15.5),
        # Two requests of 3 s, and 1 s of computing.
        "judge requests in flight": pytest.approx(4 * 8 / 7),
        "orchestrators' cores": 6,
        "judges' cores": 4,
        "Redis's core": 10,
        "the machine's cores": pytest.approx(3),
    }


def test_throughput_grows_with_replicas_until_the_engine_is_full() -> None:
    lowest_limits = [lowest(limits(WORK, ENGINE, NO_CPU, Replicas(count, count, 14, 64))) for count in (1, 2, 4)]

    assert lowest_limits == [(1, "prompts in flight"), (2, "prompts in flight"), (3, "engines")]
    assert engine_rate(WORK, ENGINE) == 3


def test_what_takes_no_time_bounds_nothing() -> None:
    instant = Engine(first_token=0, token=0, sequences=1)

    assert lowest(limits(WORK, instant, Cpu(0.1, 0, 0, 0), Replicas(1, 1, 640, 64))) == (10, "orchestrators' cores")


def test_settings_are_compared_with_the_first_of_their_series_and_with_the_cores_that_others_left() -> None:
    measurements = [Measurement(rate=1.0 + index, cpu=NO_CPU, other_cores=0.5) for index in range(len(SETTINGS))]

    rows = compare(WORK, measurements, Cpu(0.1, 0.1, 0.05, 0.05), cores=2)

    assert [row["ratio_to_one"] for row in rows if row["varied"] == "judges"] == [1, 5 / 4, 6 / 4]
    assert (rows[-1]["bound_by"], rows[-1]["formula"]) == ("the machine's cores", pytest.approx(5))
    assert rows[-1]["measured_to_formula"] == pytest.approx(len(SETTINGS) / 5)


def test_the_stand_in_draws_lengths_by_the_seed_alone() -> None:
    body = {"seed": 7, "n": 50, "max_tokens": 64}

    assert tokens_of(body) == tokens_of({**body, "messages": []}) != tokens_of({**body, "seed": 8})
    assert all(32 <= count <= 64 for count in tokens_of(body))


def test_the_stand_in_answers_as_an_engine_and_works_on_no_more_sequences_than_it_has_places() -> None:
    async def scenario() -> tuple[Generation, float]:
        app = create_app(Engine(first_token=0.05, token=0, sequences=2))
        async with TestServer(app) as server, ServiceClient(str(server.make_url(""))) as service:
            started = time.monotonic()
            prompt = [Message(role="user", content="Which one?")]
            generation = await GeneratorClient(service).chat(prompt, n=6, max_tokens=32, seed=1, model="policy@0")
            return generation, time.monotonic() - started

    generation, seconds = asyncio.run(scenario())

    assert generation.policy_version == "policy@0"
    assert len(generation.responses) == 6
    assert all(response.text.splitlines()[-1].startswith("Score: ") for response in generation.responses)
    assert seconds > 0.149


def test_connections_go_to_each_replica_in_turn_and_end_where_there_is_none() -> None:
    async def scenario() -> list[bytes]:
        async def name(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"replica")
            writer.close()

        replica = await asyncio.start_server(name, "127.0.0.1", 0)
        ports = [replica.sockets[0].getsockname()[1], free_port()]
        async with replica, balanced(ports) as port:
            texts = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                texts.append(await reader.read())
                writer.close()
            return texts

    assert asyncio.run(scenario()) == [b"replica", b"", b"replica", b""]


def test_the_deployment_page_has_the_figures_of_the_result() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()

    assert tables(json.loads(RESULT.read_text())) in page, "put there what `python -m bench.replica_tables` prints"
