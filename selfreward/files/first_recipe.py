"""A commented recipe and example seed files to begin with, for any method."""

import json
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

from selfreward.loop.load import load_recipe
from selfreward.loop.methods import METHODS
from selfreward.loop.rows import IftRow
from selfreward.loop.seed.read import Check, read_seed_data
from selfreward.recipe.recipe import Recipe, RecipeError

_ROUNDS, _PROMPTS = 2, 16
_ROWS = {"ift": 64, "eft": 24, "eft_eval": 8, "prompts": (_ROUNDS + 1) * _PROMPTS, "heldout": 16}

_CONSTITUTION = """# Put your own principles here; recipes/constitutions/general.toml is a longer example.
critique = "{principle}\\n\\nConversation: {prompt}\\n\\nResponse: {response}"
revision = "{principle}\\n\\nConversation: {prompt}\\n\\nResponse: {response}\\n\\nCritique: {critique}"

[[principles]]
critique = "Say what is false or made up in the response."
revision = "Write the response again so that it is true. Reply with the new response alone."
choice = "Prefer the response that is true."
"""
_TEMPLATE = """\
# What a run does. Keys that are left out have the papers' values; `selfreward run {recipe} --dry-run` prints all.
# docs/methods.md compares the methods.
name = "{name}"
method = "{method}"
model = {model}    # base model: a checkpoint folder in Hugging Face layout
seed = 0

[data]    # example rows: put your own in their place; `selfreward data check` says what a file can be used for
{data}

[sampling]    # how the model answers
n = 4    # answers to each prompt
temperature = 0.7
max_tokens = {max_tokens}

[judging]    # how answers are judged
rubric = {rubric}    # for models that follow instructions; docs/rubrics.md has others, and how to write one
votes = 3

[prompts]
per_iteration = {per_iteration}    # prompts of each round; the paper has thousands

[loop]
iterations = {iterations}    # rounds after M1: M2 and M3
use_eft = {use_eft}    # whether the model is taught to judge by the ranked answers of data.eft

[baseline_sft]    # supervised fine-tuning on data.ift
learning_rate = 5.5e-6    # the paper's, for 70 B parameters; small models need more, up to 1e-3
batch_size = 16

[sft]    # the same with the judge's data
learning_rate = 5.5e-6
batch_size = 16

[dpo]    # training on the preference pairs
learning_rate = 1e-6
batch_size = 16

[evaluation]
prompts = {heldout}    # held-out prompts that each model answers for the report
samples = 2
judged_prompts = {heldout}
"""


def write_first_recipe(folder: Path, method: str, model: str, rubric: str, check: Check | None = None) -> Path:
    """Write `recipe.toml` and seed files into a new folder; returns the recipe's path.

    Without a `method` it is the first one. What is written is read as a run reads it, so it can be run as it is. Raises
    RecipeError for an unknown method or a folder that exists, and SeedError if `check`, the model's chat template,
    refuses the example rows.
    """
    method = method or next(iter(METHODS))
    if method not in METHODS:
        raise RecipeError(f"--method {method} is none of {', '.join(METHODS)}")
    if folder.exists():
        raise RecipeError(f"{folder} exists: give a new folder")
    seed = folder / "seed"
    seed.mkdir(parents=True)
    for name, rows in _seed_rows(method).items():
        (seed / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.toml"
    recipe = _write_recipe(path, seed, method, model, rubric)
    read_seed_data(recipe, check) if check else read_seed_data(recipe)
    return path


def _write_recipe(path: Path, seed: Path, method: str, model: str, rubric: str) -> Recipe:
    """Write the recipe with what the method takes: its own check says which files and keys these are."""
    constitution = seed / "constitution.toml"
    for use_eft, with_constitution in ((True, False), (False, False), (False, True)):
        names = [name for name in _ROWS if use_eft or name != "eft"]
        data = {name: str(seed / f"{name}.jsonl") for name in names}
        data |= {"constitution": str(constitution)} if with_constitution else {}
        path.write_text(
            _TEMPLATE.format(
                recipe=path,
                name=method.replace("_", "-"),
                method=method,
                model=json.dumps(model),
                data="\n".join(f"{name} = {json.dumps(file)}" for name, file in data.items()),
                rubric=json.dumps(rubric),
                max_tokens=256,
                per_iteration=_PROMPTS,
                iterations=_ROUNDS,
                use_eft=json.dumps(use_eft),
                heldout=_ROWS["heldout"],
            )
        )
        try:
            recipe = load_recipe(path, environment={})
        except RecipeError:
            if with_constitution:
                raise
            continue
        if with_constitution:
            constitution.write_text(_CONSTITUTION)
        if not use_eft:
            (seed / "eft.jsonl").unlink()
        return recipe
    raise AssertionError("the last candidate returns or raises")


def _seed_rows(method: str) -> dict[str, list[dict[str, Any]]]:
    """Example rows of every file; no prompt is in two files."""
    problems = _problems()
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, count in _ROWS.items():
        rows[name] = []
        for prompt, answer, wrong in islice(problems, count):
            row: dict[str, Any] = {"prompt": prompt}
            if name == "ift" or (name == "prompts" and issubclass(METHODS[method].prompt_row, IftRow)):
                row["response"] = answer
            elif name.startswith("eft"):
                ranked = [(answer, 1), (wrong, 2), ("I do not know .", 3)]
                row["responses"] = [{"text": text, "rank": rank} for text, rank in ranked]
            rows[name].append(row)
    return rows


def _problems() -> Iterator[tuple[str, str, str]]:
    """Sums as prompt, right answer and wrong answer. Spaces make each number a word for the smallest of tokenizers."""
    for first, second in product(range(2, 22), range(2, 22)):
        total = first + second
        yield (
            f"Use {first} {second} to make {total} .",
            f"{first} + {second} = {total}",
            f"{first} + {second} = {total + 1}",
        )
