"""`selfreward plan`: what a recipe needs of which GPUs, before anything is started."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from selfreward.cli.options import Overrides
from selfreward.cli.output import stdout

if TYPE_CHECKING:
    from selfreward.estimate.stages import StagePlan


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, for example recipes/llama8b-8gpu.toml.")],
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help="One of rtx4090, l40s, a100, h100, h200, b200.")] = "h100",
    gpus: Annotated[int | None, typer.Option(min=1, help="How many generate; trainer.world_size if left out.")] = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.json, where its folder is not here.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Mean length of a prompt.")] = 256,
    mfu: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the GPU's FLOP/s that is used.")] = 0.4,
) -> None:
    """Estimate memory, tokens and time of each stage (docs/planning.md has the formulas)."""
    from selfreward.estimate.memory import GB
    from selfreward.estimate.shape import shape_of
    from selfreward.estimate.stages import plan_run, seed_sizes
    from selfreward.estimate.time import GPUS, Assumptions
    from selfreward.loop.load import load_recipe
    from selfreward.recipe.recipe import RecipeError

    if gpu not in GPUS:
        raise RecipeError(f"--gpu {gpu} is not known; give one of {', '.join(GPUS)}")
    resolved = load_recipe(recipe, overrides or [])
    shape = shape_of(resolved, config)
    seed, assumed = seed_sizes(resolved)
    by = Assumptions(GPUS[gpu], gpus or resolved.trainer.world_size, prompt_tokens, mfu)
    stages = plan_run(resolved, shape, seed, by)
    stdout.print(_table(stages, f"{resolved.name}: {shape.parameters / 1e6:,.0f} M parameters, {resolved.method}"))
    hours = sum(stage.generating + stage.training for stage in stages)
    world = resolved.trainer.world_size
    stdout.print(f"{hours:.1f} hours: training on {world} x {gpu}, answers and judgments on {by.gpus} x {gpu}")
    if assumed:
        stdout.print(f"not here, so the paper's number of rows is assumed: {', '.join(assumed)}")
    stdout.print(_verdict(stages, gpu))
    engine = shape.parameters * shape.stored_bytes / GB
    stdout.print(f"The engine holds a copy of the model besides: {engine:.1f} GB, and its cache.")


def _table(stages: list["StagePlan"], title: str) -> Table:
    table = Table("stage", "trained", title=title, title_justify="left")
    for column in ("weights", "gradients", "optimiser", "reference", "activations", "GB a GPU"):
        table.add_column(column, justify="right")
    for column in ("answer tokens", "judge tokens", "evaluation", "hours"):
        table.add_column(column, justify="right")
    for stage in stages:
        memory = [f"{part:.1f}" for part in stage.memory]
        tokens = [_millions(count) for count in (stage.rollout_tokens, stage.judge_tokens, stage.evaluation_tokens)]
        hours = f"{stage.generating:.1f} + {stage.training:.1f}"
        table.add_row(
            stage.stage, f"{stage.trained / 1e6:,.0f} M", *memory, f"{stage.memory.total:.1f}", *tokens, hours
        )
    return table


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count else "-"


def _verdict(stages: list["StagePlan"], gpu: str) -> str:
    from selfreward.estimate.time import GPUS

    most = max(stages, key=lambda stage: stage.memory.total)
    needed, there = most.memory.total, GPUS[gpu].memory
    # What CUDA, the allocator's gaps and the loss take is not in the sum.
    if needed <= 0.9 * there:
        return f"{most.stage} needs most: {needed:.1f} of {there:g} GB. It fits."
    larger = [name for name, other in GPUS.items() if needed <= 0.9 * other.memory]
    where = f"a GPU with more memory ({', '.join(larger)})" if larger else "adapters ([dpo.lora], [sft.lora])"
    return (
        f"{most.stage} needs {needed:.1f} GB of each GPU, and {gpu} has {there:g}, of which a tenth should stay free: "
        "lower micro_batch_size or max_length, set gradient_checkpointing=true and bf16=true, or take " + where
    )
