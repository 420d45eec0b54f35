"""`selfreward judge`: every row once and in order, whatever stops it; errors before any work; constant memory."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from selfreward import JudgeClient, ServiceError
from selfreward.cli.main import app
from selfreward.client.http import ServiceClient
from selfreward.files.judge_file import Summary, judge_file
from selfreward.files.judged_rows import JudgedRows
from selfreward.files.rows import WRITTEN, Fields, RowError
from tests.support.judge_engine import Engine, by_length
from tests.support.listening import listening_judge


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"p{index}", "response": "x" * (index % 6 + 1), "source": index} for index in range(count)]


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(client: JudgeClient, source: Path, out: Path, **options: Any) -> Summary:
    chosen: Any = {"rubric": "countdown", "votes": 2, **options}
    return judge_file(client, source, out, Fields(), chosen, lambda _: None)


def test_rows_are_judged_in_order_with_votes_and_all_columns(client: JudgeClient, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", rows(150)), tmp_path / "out.jsonl"

    summary = judged(client, source, out)

    output = read(out)
    assert [row["source"] for row in output] == list(range(150))
    assert [row["score"] for row in output[:6]] == [1, 2, 3, 4, 5, None]
    assert [vote["score"] for vote in output[1]["votes"]] == [2, 2]
    assert output[5]["failure_kind"] == "out_of_range"
    assert [row["agreement"] for row in output[4:6]] == [1, None]
    assert output[0]["rubric"].startswith("countdown@sha256:")
    assert tuple(output[0])[-len(WRITTEN) :] == WRITTEN
    assert (summary.rows, summary.scored, summary.mean) == (150, 125, 3)
    assert summary.histogram == dict.fromkeys(range(1, 6), 25)
    assert summary.failures == {"out_of_range": 25}


@pytest.mark.parametrize("cut", [0, 1, 40, -1, -2, -9])
def test_a_torn_output_is_continued_and_no_row_is_judged_twice(
    client: JudgeClient, engine: Engine, tmp_path: Path, cut: int
) -> None:
    """Cut in the middle of a line, after a row without its line break, and after a whole line."""
    source, out = write(tmp_path / "in.jsonl", rows(70)), tmp_path / "out.jsonl"
    judged(client, source, out)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    complete = b"".join(lines[:30])
    out.write_bytes(complete[:cut] if cut < 0 else complete + lines[30][:cut])
    engine.bodies.clear()

    summary = judged(client, source, out)

    assert out.read_bytes() == whole
    assert summary.continued_at == {-1: 30, -2: 29, -9: 29}.get(cut, 30)
    assert len(engine.bodies) == 70 - summary.continued_at
    assert judged(client, source, out).continued_at == 70


def test_a_judge_that_fails_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    failing = True

    def reply(sent: dict[str, Any]) -> Response:
        down = failing and any(f"p{index} " in sent["messages"][0]["content"] for index in range(128, 192))
        return JSONResponse({"error": "down"}, 401) if down else by_length(sent)

    engine = Engine(reply)
    source, out = write(tmp_path / "in.jsonl", rows(300)), tmp_path / "out.jsonl"
    with listening_judge(engine) as url:
        service = ServiceClient(url, attempts=1)
        with JudgeClient(service) as client:
            with pytest.raises(ServiceError, match="HTTP 401"):
                judged(client, source, out)
            assert [row["source"] for row in read(out)] == list(range(128))
            failing = False
            assert judged(client, source, out).continued_at == 128
    assert [row["source"] for row in read(out)] == list(range(300))


def refusing(*indices: int) -> Engine:
    """An engine that refuses to judge these rows, while `refused` has them."""

    def reply(sent: dict[str, Any]) -> Response:
        text = sent["messages"][0]["content"]
        if any(f"p{index} " in text for index in engine.refused):
            return JSONResponse({"error": "strange"}, 400)
        return by_length(sent)

    class Refusing(Engine):
        refused = set(indices)

    engine = Refusing(reply)
    return engine


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_rows_without_votes_are_judged_again(tmp_path: Path, name: str) -> None:
    engine: Any = refusing(3, 80, 81)
    source, out = write(tmp_path / "in.jsonl", rows(90)), tmp_path / name

    def output() -> list[dict[str, Any]]:
        return read(out) if name == "out.jsonl" else list(pq.read_table(out).to_pylist())

    with listening_judge(engine) as url, JudgeClient(url) as client:
        whole = judged(client, source, tmp_path / "whole.jsonl", seed=1)
        first = judged(client, source, out, seed=1)
        assert list(first.errors) == [3, 80, 81]
        assert "strange" in first.errors[3]
        assert first.failures["error"] == 3
        before = output()

        engine.refused.remove(80)
        engine.bodies.clear()
        second = judged(client, source, out, seed=1)
        assert len(engine.bodies) == 3
        assert (list(second.errors), second.rows, second.continued_at) == ([3, 81], 90, 90)
        after = output()
        assert [index for index in range(90) if before[index] != after[index]] == [80]

        engine.refused.clear()
        third = judged(client, source, out, seed=1)
        engine.bodies.clear()
        judged(client, source, out, seed=1)
        assert engine.bodies == []
        judged(client, source, tmp_path / "whole.jsonl", seed=1)

    assert not third.errors
    assert third.histogram == {1: 15, 2: 15, 3: 15, 4: 15, 5: 15}
    assert third.failures == {"out_of_range": 15}
    assert whole.errors.keys() == {3, 80, 81}
    assert [row["score"] for row in output()] == [row["score"] for row in read(tmp_path / "whole.jsonl")]
    assert [row["source"] for row in output()] == list(range(90))
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "whole.jsonl", name}


def test_what_was_judged_again_stays_when_the_judge_fails(tmp_path: Path) -> None:
    engine: Any = refusing(*range(200))
    source, out = write(tmp_path / "in.jsonl", rows(200)), tmp_path / "out.jsonl"
    with listening_judge(engine) as url, JudgeClient(url) as client:
        assert len(judged(client, source, out).errors) == 200
        engine.refused.clear()
        working = engine.reply

        def reply(sent: dict[str, Any]) -> Response:
            down = any(f"p{index} " in sent["messages"][0]["content"] for index in range(64, 128))
            return JSONResponse({"error": "down"}, 401) if down else working(sent)

        engine.reply = reply
        with pytest.raises(ServiceError, match="HTTP 401"):
            judged(client, source, out)
        assert [row["score"] is None for row in read(out)[:66]] == [
            *(index % 6 == 5 for index in range(64)),
            True,
            True,
        ]
        assert [row["source"] for row in read(out)] == list(range(200))
        engine.reply = working
        assert not judged(client, source, out).errors


def test_the_command_says_that_the_engine_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = refusing(1)
    source, out = write(tmp_path / "in.jsonl", rows(3)), tmp_path / "out.jsonl"
    arguments = ["judge", str(source), "--out", str(out), "--rubric", "countdown"]
    with listening_judge(engine) as url:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        failed = CliRunner().invoke(app, arguments)
        engine.refused.clear()
        done = CliRunner().invoke(app, arguments)

    assert failed.exit_code == 3
    assert "1 row has no vote, because the engine failed; the same command judges again." in failed.stderr
    assert "strange" in failed.stderr
    assert done.exit_code == 0
    assert "3 rows (3 from before)" in done.output


def test_a_seed_gives_the_same_votes_after_an_interruption(client: JudgeClient, engine: Engine, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", rows(20)), tmp_path / "out.jsonl"
    engine.bodies.clear()
    judged(client, source, out, seed=1)
    seeds = {body["messages"][0]["content"]: body["seed"] for body in engine.bodies}
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:7]))
    engine.bodies.clear()
    judged(client, source, out, seed=1)

    assert len(engine.bodies) == 13
    assert all(seeds[body["messages"][0]["content"]] == body["seed"] for body in engine.bodies)


def test_parquet_in_and_out(client: JudgeClient, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    turns = [
        {
            "prompt": [{"role": "user", "content": f"p{index}"}],
            "completion": [{"role": "assistant", "content": "x" * (index % 6 + 1)}],
            "weight": None if index == 0 else index / 2,
        }
        for index in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(turns), source)

    summary = judged(client, source, out)

    rows = pq.read_table(out).to_pylist()
    assert [row["score"] for row in rows[:6]] == [1, 2, 3, 4, 5, None]
    assert (rows[0]["weight"], rows[3]["weight"]) == (None, 1.5)
    assert rows[0]["prompt"] == [{"role": "user", "content": "p0"}]
    assert rows[5]["votes"][0]["status"] == "out_of_range"
    judged(client, source, tmp_path / "out.jsonl")
    for name in ("votes", "agreement"):
        assert [row[name] for row in rows] == [row[name] for row in read(tmp_path / "out.jsonl")]
    (tmp_path / "out.jsonl").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]
    again = judged(client, source, out)
    assert (again.rows, again.continued_at, again.histogram) == (40, 40, summary.histogram)


def test_parquet_output_is_continued_from_its_partial_file(client: JudgeClient, engine: Engine, tmp_path: Path) -> None:
    source, out, partial = (tmp_path / name for name in ("in.jsonl", "out.parquet", "out.parquet.partial.jsonl"))
    write(source, rows(30))
    judged(client, source, tmp_path / "first.jsonl")
    partial.write_bytes(b"".join((tmp_path / "first.jsonl").read_bytes().splitlines(keepends=True)[:20]) + b'{"pro')
    engine.bodies.clear()

    assert judged(client, source, out).continued_at == 20
    assert len(engine.bodies) == 10
    assert pq.read_table(out).num_rows == 30


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_file_of_a_version_before_juries_is_continued(client: JudgeClient, tmp_path: Path, name: str) -> None:
    source, out = write(tmp_path / "in.jsonl", rows(30)), tmp_path / name
    judged(client, source, tmp_path / "first.jsonl")
    old = read(tmp_path / "first.jsonl")[:20]
    for row in old:
        del row["disagreement"]
        row["votes"] = [{key: vote[key] for key in vote if key != "engine"} for vote in row["votes"]]
    write(out if name == "out.jsonl" else tmp_path / "out.parquet.partial.jsonl", old)

    assert judged(client, source, out).continued_at == 20

    written = read(out) if name == "out.jsonl" else pq.read_table(out).to_pylist()
    assert [row["source"] for row in written] == list(range(30))
    assert {row.get("disagreement") for row in written} == {None}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "r"}, r"in\.jsonl, line 2: prompt is missing: name its column with --prompt-field; .* response"),
        ({"prompt": "p"}, r"line 2: response is missing: name its column with --response-field; the row has prompt"),
        ({"prompt": "p", "response": 5}, r"line 2: response = 5: give a text, or a list of messages"),
        ({"prompt": "p", "completion": [{"role": "robot"}]}, r"line 2: completion\[0\]\.role = 'robot': use one of"),
        ({"messages": [{"role": "user", "content": "p"}]}, r"line 2: messages: the last of at least two messages"),
        ({"prompt": "p", "response": "r", "score": 1}, r"line 2: score: judging writes these columns, rename or drop"),
        ({"prompt": "p", "response": "r", "reference": 1}, r"line 2: reference = 1: give a text or leave it out"),
    ],
)
def test_a_bad_row_is_named_before_any_work(
    client: JudgeClient, engine: Engine, tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    source, out = write(tmp_path / "in.jsonl", [*rows(1), row]), tmp_path / "out.jsonl"
    engine.bodies.clear()

    with pytest.raises(RowError, match=message):
        judged(client, source, out)
    assert engine.bodies == []
    assert not out.exists()


def test_files_that_are_none_of_ours_are_refused(client: JudgeClient, tmp_path: Path) -> None:
    source, other = write(tmp_path / "in.jsonl", rows(3)), write(tmp_path / "other.jsonl", rows(2)[::-1])
    out = tmp_path / "out.jsonl"

    for path, message in (
        (tmp_path / "none.jsonl", "does not exist"),
        (write(tmp_path / "in.csv", rows(1)), r"ends in '\.csv': give a \.jsonl or \.parquet file"),
        (write(tmp_path / "empty.jsonl", []), "has no rows"),
    ):
        with pytest.raises(RowError, match=message):
            judged(client, path, out)
    (tmp_path / "broken.jsonl").write_text('{"prompt": "p", "response": "r"}\n{"prompt"\n')
    with pytest.raises(RowError, match=r"broken\.jsonl, line 2 is not valid JSON"):
        judged(client, tmp_path / "broken.jsonl", out)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(RowError, match="not readable as Parquet"):
        judged(client, tmp_path / "torn.parquet", out)
    with pytest.raises(RowError, match="is the input"):
        judged(client, source, source)
    with pytest.raises(RowError, match=r"other\.jsonl, line 1 is no judged row"):
        judged(client, source, other)
    judged(client, source, out)
    with pytest.raises(RowError, match=r"row 1 does not come from .*other\.jsonl"):
        judged(client, other, out)
    with pytest.raises(RowError, match=r"row 1 has 2 votes, not 3"):
        judged(client, source, out, votes=3)
    with pytest.raises(
        RowError, match=r"row 1 was judged with no seed, not with seed 1: continue with no seed, or use"
    ):
        judged(client, source, out, seed=1)
    with pytest.raises(RowError, match=r"row 1 was judged by rubric countdown@\S+, not additive5@"):
        judged(client, source, out, rubric="additive5")
    with JudgedRows(out), pytest.raises(RowError, match="being written by another process"):
        judged(client, source, out)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_file_of_one_seed_is_not_continued_with_another(client: JudgeClient, tmp_path: Path, name: str) -> None:
    source, out = write(tmp_path / "in.jsonl", rows(3)), tmp_path / name
    seed = -(2**63)

    judged(client, source, out, seed=seed)

    assert judged(client, source, out, seed=seed).continued_at == 3
    for other, given in ((7, "with seed 7"), (None, "with no seed")):
        with pytest.raises(
            RowError, match=rf"row 1 was judged with seed {seed}, not {given}: continue with seed {seed}"
        ):
            judged(client, source, out, seed=other)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_that_no_column_holds_is_refused(seed: int) -> None:
    result = CliRunner().invoke(app, ["judge", "in.jsonl", "--out", "out.jsonl", "--seed", str(seed)])

    assert result.exit_code == 2
    assert "--seed" in result.output


def test_the_command(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
    renamed = [{"question": row["prompt"], "answer": row["response"]} for row in rows(12)]
    source, out = write(tmp_path / "in.jsonl", renamed), tmp_path / "new" / "out.jsonl"
    arguments = ["judge", str(source), "--out", str(out), "--rubric", "countdown", "--prompt-field", "question"]

    done = CliRunner().invoke(app, [*arguments, "--response-field", "answer"])

    assert done.exit_code == 0, done.output
    assert "12 rows, mean score 3.000, unscored 16.7%" in done.output
    assert "none: out_of_range" in done.output
    assert len(read(out)) == 12
    write(source, [{"question": "p", "answer": "xxxxxxx"}])
    out.unlink()
    assert CliRunner().invoke(app, [*arguments, "--response-field", "answer"]).exit_code == 1
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "response is missing" in refused.stderr
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", "http://127.0.0.1:9")
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 2
    assert "no judge answers at http://127.0.0.1:9" in failed.stderr


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """The judge is answered for at the transport: so many real requests would take minutes.

    The bound is 196 bytes a row: less than a row's response alone.
    """
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    with source.open("w") as lines:
        for index in range(20_000):
            lines.write(f'{{"prompt": "{index}", "response": "{"word " * 40}"}}\n')

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"id": "countdown@sha256:0", "template": "{prompt} {response}"})
        items = json.loads(request.content)["items"]
        vote = {"score": 3.0, "status": "ok", "text": "Fine. Score: 3", "finish_reason": "stop"}
        data = [
            {"id": item["id"], "index": index, "score": 3, "status": "ok", "votes": [vote], "valid_votes": 1}
            for index, item in enumerate(items)
        ]
        return httpx.Response(200, json={"id": "j", "rubric": "countdown@sha256:0", "judge_version": "v", "data": data})

    used: dict[tuple[str, int], int] = {}

    def report(event: dict[str, Any]) -> None:
        if event["done"] % 4_000 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            used[event["phase"], event["done"]] = pages * resource.getpagesize()

    with JudgeClient(ServiceClient("http://judge", transport=httpx.MockTransport(handler))) as client:
        options: Any = {"rubric": "countdown", "votes": 1}
        assert judge_file(client, source, out, Fields(), options, report).rows == 20_000

    assert os.path.getsize(out) > 6_000_000
    assert max(used.values()) - used["judge", 4_000] < 3 * 2**20
