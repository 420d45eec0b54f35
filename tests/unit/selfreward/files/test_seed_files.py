"""`selfreward data`: what files can be used for, and other formats as seed files."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli.main import app
from selfreward.files.seed_files import check_seed_file
from tests.support.places import M0

CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
RANKED = {"prompt": "r", "responses": [{"text": "good", "rank": 1}, {"text": "bad", "rank": 2}]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def data(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


@pytest.mark.parametrize(
    ("rows", "uses"),
    [
        ([{"prompt": "p"}], ["prompts", "heldout"]),
        ([CHAT, {"prompt": "p", "response": "a"}], ["ift", "prompts", "heldout"]),
        ([CHAT, {"prompt": "p"}], ["prompts", "heldout"]),
        ([RANKED], ["eft", "eft_eval"]),
        ([RANKED, CHAT], []),
    ],
)
def test_a_file_is_for_the_keys_that_all_of_its_rows_can_stand_at(
    tmp_path: Path, rows: list[Any], uses: list[str]
) -> None:
    found = check_seed_file(write(tmp_path / "rows.jsonl", *rows))
    assert found.uses == uses
    assert bool(found.problems) == (not uses)


def test_a_check_names_formats_uses_and_what_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", CHAT, {"prompt": "p", "response": " "})
    done = data("check", str(path), "--model", str(M0))
    assert done.exit_code == 1
    said = f"{path}: 2 rows, 1 of messages, 1 of prompt/response; for data.ift or data.prompts or data.heldout\n"
    assert done.stdout == said
    assert done.stderr.startswith(f"{path}, line 2:\n  response: is blank")
    assert data("check", str(write(tmp_path / "good.jsonl", CHAT))).exit_code == 0
    assert data("check", str(tmp_path / "none.jsonl")).exit_code == 2


def test_a_check_with_a_model_tries_its_chat_template(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    done = data("check", str(write(tmp_path / "rows.jsonl", CHAT)), "--model", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.endswith("refuses it: never\n")


def test_parquet_becomes_a_seed_file(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    source, out = tmp_path / "train.parquet", tmp_path / "ift.jsonl"
    pq.write_table(pa.Table.from_pylist([{"instruction": "q", "input": None, "output": "\u2028a"}]), source)
    assert data("convert", str(source), "--out", str(out)).exit_code == 0
    assert [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]] == [{"prompt": "q", "response": "\u2028a"}]
