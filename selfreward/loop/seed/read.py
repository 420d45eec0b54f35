"""Read and check seed files completely, before any work starts.

Every error names the recipe key, the file, the row, the field and the remedy.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from selfreward.contracts.base import Message, as_messages, explain
from selfreward.json_lines import numbered_lines, parse_line
from selfreward.loop.constitution import Constitution, read_constitution
from selfreward.loop.methods import method_of
from selfreward.loop.rows import IftRow, PromptRow, RankedRow, SeedError, messages, sft_row
from selfreward.loop.seed.formats import as_seed_row
from selfreward.recipe.recipe import Recipe

_SHOWN = 10
Row = TypeVar("Row", bound="PromptRow")
Check = Callable[[Sequence[Message]], None]


def accept(_: Sequence[Message]) -> None:
    """Any conversation is right, where the model's chat template is not known."""


_SHAPES: dict[type[PromptRow], str] = {
    PromptRow: '{"prompt": "..."}',
    IftRow: '{"prompt": "...", "response": "..."}',
    RankedRow: '{"prompt": "...", "responses": [{"text": "...", "rank": 1}, {"text": "...", "rank": 2}]}',
}


@dataclass(frozen=True)
class SeedData:
    """All seed rows of a recipe. A file that the recipe does not name has no rows."""

    ift: list[IftRow]
    heldout: list[PromptRow]
    eft: list[RankedRow] = field(default_factory=list)
    eft_eval: list[RankedRow] = field(default_factory=list)
    prompts: Sequence[PromptRow] = field(default_factory=list)
    constitution: Constitution | None = None


def read_seed_data(recipe: Recipe, check: Check = accept) -> SeedData:
    """Read and check every seed file that `recipe` names. Raises SeedError.

    `check` raises ValueError for a conversation that the base model's chat template refuses.
    """
    data, method = recipe.data, method_of(recipe)
    seed = SeedData(
        ift=read_rows("data.ift", data.ift, IftRow, check),
        heldout=read_rows("data.heldout", data.heldout, PromptRow, check),
        eft=read_rows("data.eft", data.eft, RankedRow, check) if data.eft and recipe.loop.use_eft else [],
        eft_eval=read_rows("data.eft_eval", data.eft_eval, RankedRow, check) if data.eft_eval else [],
        prompts=read_rows("data.prompts", data.prompts, method.prompt_row, check)
        if data.prompts and method.needs_prompts(recipe)
        else [],
        constitution=_constitution(data.constitution),
    )
    _check_sizes(recipe, seed)
    _check_held_out("data.heldout", seed.heldout, {"data.ift": seed.ift, "data.prompts": seed.prompts})
    _check_held_out("data.eft_eval", seed.eft_eval, {"data.eft": seed.eft})
    return seed


def prompts_in_keys(recipe: Recipe) -> str:
    """The number of prompts that a run answers, as a product of the recipe's keys, for messages."""
    more = "(loop.iterations + 1)" if method_of(recipe).slices(recipe) > recipe.loop.iterations else "loop.iterations"
    return f"{more} x prompts.per_iteration"


def snapshot(seed: SeedData) -> dict[str, Callable[[], Iterable[dict[str, object]]]]:
    """The rows that a run keeps, by data name, so that it never reads the user's files again.

    `ift` has the trainer's SFT shape; the rows of the others have a `prompt_id` (`heldout-00012`).
    """

    def prompts(name: str, rows: Sequence[PromptRow]) -> Callable[[], Iterable[dict[str, object]]]:
        return lambda: (
            {"prompt_id": f"{name}-{number:05d}", **row.model_dump(mode="json"), "prompt": messages(row.prompt)}
            for number, row in enumerate(rows)
        )

    return {
        "ift": lambda: (sft_row(as_messages(row.prompt), row.response) for row in seed.ift),
        "heldout": prompts("heldout", seed.heldout),
        "eft_ranked": prompts("eft", seed.eft),
        "eft_eval": prompts("eft_eval", seed.eft_eval),
        "prompts": prompts("prompts", seed.prompts),
        "constitution": lambda: [seed.constitution.model_dump()] if seed.constitution else [],
    }


def _constitution(path: str | None) -> Constitution | None:
    try:
        return read_constitution(path) if path else None
    except ValueError as error:
        raise SeedError(f"data.constitution: {error}") from error


def read_rows(key: str, path: str, row_type: type[Row], check: Check = accept) -> list[Row]:
    """The rows of one seed file, in any of the formats of `formats.py`. `key` names the file's recipe key in messages.

    Raises SeedError that lists the first problems, each with its row: the number of its line, from 1.
    """
    file = Path(path)
    if not file.is_file():
        raise SeedError(f"{key}: file {path} does not exist (working directory {Path.cwd()}); give another path")
    if file.suffix == ".parquet":
        raise SeedError(f"{key}: {path} is Parquet: write it as JSON Lines by `selfreward data convert {path}`")
    rows, problems = [], []
    for number, line in numbered_lines(file):
        try:
            _, values = as_seed_row(parse_line(line), with_response="response" in row_type.model_fields)
            row = row_type.model_validate(values)
            check(conversation_of(row))
        except ValidationError as error:
            problems.append(f"row {number}:\n{explain(error)}")
        except ValueError as error:
            problems.append(f"row {number}: {error}")
        else:
            rows.append(row)
    if problems:
        listed = "\n".join(problems[:_SHOWN])
        more = f"\n... and {len(problems) - _SHOWN} more rows" if len(problems) > _SHOWN else ""
        raise SeedError(f"{key}: file {path}: {listed}{more}\nrows look like {_SHAPES[row_type]}")
    if not rows:
        raise SeedError(f"{key}: file {path} has no rows; rows look like {_SHAPES[row_type]}")
    return rows


def conversation_of(row: PromptRow) -> list[Message]:
    """What of a row the chat template is given: the prompt, and the answer of a demonstration."""
    answer = [Message(role="assistant", content=row.response)] if isinstance(row, IftRow) else []
    return [*as_messages(row.prompt), *answer]


def _check_sizes(recipe: Recipe, seed: SeedData) -> None:
    prompts = recipe.evaluation.prompts
    if prompts > len(seed.heldout):
        raise SeedError(
            f"evaluation.prompts = {prompts}, but data.heldout has {len(seed.heldout)} rows: "
            f"set evaluation.prompts={len(seed.heldout)} or add rows"
        )
    if recipe.prompts.source == "self_instruct" and len(seed.ift) < 8:
        raise SeedError(f"data.ift has {len(seed.ift)} rows: self-instruct needs at least 8 demonstrations")
    method = method_of(recipe)
    method.check_demonstrations(recipe, seed.ift)
    needed = method.slices(recipe) * recipe.prompts.per_iteration
    if method.needs_prompts(recipe) and needed > len(seed.prompts):
        raise SeedError(
            f"{prompts_in_keys(recipe)} = {needed}, but data.prompts has {len(seed.prompts)} rows: "
            "lower prompts.per_iteration or add rows"
        )


def _check_held_out(key: str, rows: Sequence[PromptRow], others: dict[str, Sequence[PromptRow]]) -> None:
    for other, other_rows in others.items():
        row_of = {_identity(row): number for number, row in enumerate(other_rows, start=1)}
        for number, row in enumerate(rows, start=1):
            if _identity(row) in row_of:
                raise SeedError(
                    f"{key} row {number} has the prompt of {other} row {row_of[_identity(row)]}: "
                    "held-out prompts must not be trained on; remove one of the two"
                )


def _identity(row: PromptRow) -> tuple[tuple[str, str], ...]:
    return tuple((message.role, message.content.strip()) for message in as_messages(row.prompt))
