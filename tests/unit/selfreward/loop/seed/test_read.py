"""Seed files: every mistake is an error that names the file, the row, the field and the remedy."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward.contracts.base import Message, as_messages
from selfreward.loop.load import RunRecipe
from selfreward.loop.rows import SeedError
from selfreward.loop.seed.formats import as_seed_row
from selfreward.loop.seed.read import read_seed_data, snapshot
from selfreward.recipe.recipe import Recipe

RANKED = {"prompt": "ranked", "responses": [{"text": "good", "rank": 1}, {"text": "bad", "rank": 2}]}


def recipe(folder: Path, files: dict[str, list[Any]], **sections: Any) -> Recipe:
    """A recipe over seed files with the given rows (JSON values, or strings to write as they are)."""
    rows: dict[str, list[Any]] = {
        "ift": [{"prompt": "q", "response": "a"}],
        "eft": [RANKED],
        "prompts": [{"prompt": f"p{number}"} for number in range(4)],
        "heldout": [{"prompt": "h0"}, {"prompt": "h1"}],
        **files,
    }
    paths = {}
    for name, listed in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in listed))
        paths[name] = str(path)
    values: dict[str, Any] = {"prompts": {"per_iteration": 2}, "evaluation": {"prompts": 2}, **sections}
    data = paths | values.pop("data", {})
    return RunRecipe.model_validate({"name": "r", "model": "m", "data": data, **values})


def test_good_files_are_read_and_kept_in_the_shapes_of_the_run(tmp_path: Path) -> None:
    seed = read_seed_data(recipe(tmp_path, {"eft_eval": [{**RANKED, "prompt": "other"}]}))
    kept = {name: list(rows()) for name, rows in snapshot(seed).items()}
    assert kept["ift"] == [
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    ]
    assert kept["eft_eval"] == [
        {
            "prompt_id": "eft_eval-00000",
            "prompt": [{"role": "user", "content": "other"}],
            "responses": [{"text": "good", "rank": 1.0}, {"text": "bad", "rank": 2.0}],
        }
    ]
    assert [row["prompt_id"] for row in kept["prompts"]] == [f"prompts-{number:05d}" for number in range(4)]


def test_files_are_read_as_other_tools_write_them(tmp_path: Path) -> None:
    run_recipe = recipe(tmp_path, {"heldout": ['\ufeff{"prompt": "h\u2028i"}', {"prompt": "h1"}]})

    assert [row.prompt for row in read_seed_data(run_recipe).heldout] == ["h\u2028i", "h1"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ift": [{"prompt": "q"}]}, ["data.ift", "ift.jsonl", "row 1", "response", "rows look like"]),
        ({"ift": [{"prompt": "q", "response": "a"}, "{"]}, ["row 2", "not valid JSON"]),
        ({"heldout": ["", r'{"prompt": "An emoji cut: \ud83d"}']}, ["data.heldout", "row 2", "surrogate pair"]),
        ({"heldout": ["[" * 100_000]}, ["row 1", "nested too deeply"]),
        ({"ift": [{"messages": [{"role": "user", "content": "q"}]}]}, ["row 1", "response is missing"]),
        ({"heldout": [{"conversations": [{"from": "bot", "value": "x"}]}]}, ["row 1", "conversations[0] is no turn"]),
        ({"ift": [{"prompt": "  ", "response": "a"}]}, ["row 1", "prompt", "is blank"]),
        ({"ift": []}, ["data.ift", "has no rows"]),
        ({"heldout": [{"prompt": "h0", "answer": "x"}]}, ["data.heldout", "answer", "unknown key"]),
        ({"heldout": [{"prompt": "h0"}]}, ["evaluation.prompts = 2", "set evaluation.prompts=1"]),
        ({"prompts": [{"prompt": "p"}] * 3}, ["loop.iterations x prompts.per_iteration = 4", "has 3 rows"]),
        ({"prompts": [{"prompt": f"h{n}"} for n in range(4)]}, ["data.heldout row 1", "data.prompts row 1", "remove"]),
        ({"eft_eval": [RANKED]}, ["data.eft_eval row 1", "data.eft row 1"]),
        ({"eft": [{"prompt": "x", "responses": [{"text": "a", "rank": 0}]}]}, ["row 1", "responses.0.rank = 0"]),
        ({"eft": [{"prompt": "x", "responses": [{"text": "a", "rank": 1}]}]}, ["row 1", "responses"]),
        (
            {"heldout": [{"prompt": [{"role": "assistant", "content": "x"}]}, {"prompt": "h"}]},
            ["row 1", "last turn must be the user's"],
        ),
        (
            {"heldout": [{"prompt": [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}]}]},
            ["row 1", "has a tool turn"],
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, files: dict[str, list[Any]], message: list[str]) -> None:
    with pytest.raises(SeedError) as caught:
        read_seed_data(recipe(tmp_path, files))
    for words in message:
        assert words in str(caught.value)


def test_a_method_that_answers_demonstrations_needs_enough_of_them_and_no_prompts(tmp_path: Path) -> None:
    spin = {"method": "spin", "loop": {"use_eft": False, "iterations": 5}}
    seed = read_seed_data(recipe(tmp_path, {"ift": [{"prompt": f"q{n}", "response": "a"} for n in range(2)]}, **spin))
    assert (len(seed.ift), seed.prompts) == (2, [])
    with pytest.raises(SeedError, match=r"prompts\.per_iteration = 2, but data\.ift has 1 rows .*per_iteration=1"):
        read_seed_data(recipe(tmp_path, {}, **spin))


def test_a_teachers_answer_is_kept_with_each_prompt(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "response": f"gold {n}"} for n in range(4)]
    seed = read_seed_data(recipe(tmp_path, {"prompts": rows}, method="dno"))
    assert [row["response"] for row in snapshot(seed)["prompts"]()] == [f"gold {n}" for n in range(4)]
    with pytest.raises(SeedError, match=r"data\.prompts.*row 1:\n  response"):
        read_seed_data(recipe(tmp_path, {}, method="dno"))


def test_a_constitution_is_kept_with_the_run_and_its_mistakes_are_seed_errors(tmp_path: Path) -> None:
    path = tmp_path / "constitution.toml"
    values: dict[str, Any] = {"method": "constitutional", "loop": {"use_eft": False, "iterations": 1}}
    values["data"] = {"constitution": str(path)}
    run_recipe = recipe(tmp_path, {}, **values)
    path.write_text("""
critique = "{prompt} {response} {principle}"
revision = "{prompt} {response} {critique}"
[[principles]]
critique = "c"
revision = "r"
choice = "x"
""")
    (kept,) = snapshot(read_seed_data(run_recipe))["constitution"]()
    assert kept["principles"] == [{"critique": "c", "revision": "r", "choice": "x"}]
    more = recipe(tmp_path, {}, **values | {"prompts": {"per_iteration": 3}})
    with pytest.raises(SeedError, match=r"\(loop\.iterations \+ 1\) x prompts\.per_iteration = 6"):
        read_seed_data(more)
    path.write_text("critique = 1")
    with pytest.raises(SeedError, match=r"data\.constitution: file .*constitution\.toml"):
        read_seed_data(run_recipe)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "completion": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 7},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "source": "web"},
        {"instruction": "q", "input": "", "output": "a"},
    ],
)
def test_rows_of_other_formats_are_demonstrations_and_prompts(tmp_path: Path, row: dict[str, Any]) -> None:
    seed = read_seed_data(recipe(tmp_path, {"ift": [row], "prompts": [row] * 4}))
    (demonstration,) = snapshot(seed)["ift"]()
    assert demonstration == {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    assert [as_messages(row.prompt) for row in seed.prompts] == [[Message(role="user", content="q")]] * 4


def test_an_alpaca_rows_input_follows_its_instruction_and_a_chats_earlier_turns_are_its_prompt() -> None:
    _, alpaca = as_seed_row({"instruction": "Add.", "input": "1 2", "output": "3"}, with_response=True)
    assert alpaca == {"prompt": "Add.\n\n1 2", "response": "3"}
    turns = [("system", "s"), ("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", "b")]
    row = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    name, chat = as_seed_row(row, with_response=True)
    assert (name, chat["response"]) == ("ShareGPT", "b")
    assert [turn["role"] for turn in chat["prompt"]] == ["system", "user", "assistant", "user"]


def test_a_row_that_the_chat_template_refuses_is_named(tmp_path: Path) -> None:
    def refuse(messages: Sequence[Message]) -> None:
        if messages[-1].content == "a":
            raise ValueError("the chat template refuses it")

    with pytest.raises(SeedError, match=r"data\.ift: file .*ift\.jsonl: row 1: the chat template refuses it"):
        read_seed_data(recipe(tmp_path, {}), refuse)


def test_a_missing_file_is_named_with_the_working_directory(tmp_path: Path) -> None:
    run_recipe = recipe(tmp_path, {})
    (tmp_path / "ift.jsonl").unlink()
    with pytest.raises(SeedError, match=r"data\.ift: file .*ift\.jsonl does not exist"):
        read_seed_data(run_recipe)
