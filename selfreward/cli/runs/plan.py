"""`selfreward plan`: what a recipe needs of which GPUs, or of a CPU, before anything is started."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from selfreward.cli.options import Overrides
from selfreward.cli.output import stdout

if TYPE_CHECKING:
    from selfreward.estimate.devices import Cpu, Gpu
    from selfreward.estimate.stages import StagePlan
    from selfreward.recipe.recipe import Recipe

_DEFAULT_GPU = "h100"


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, for example recipes/llama8b-8gpu.toml.")],
    overrides: Overrides = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "--gpu",
            help="One of cpu, rtx4090, l40s, a100, h100, h200, b200.",
            show_default=f"{_DEFAULT_GPU}, or cpu where there is no GPU",
        ),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many generate; trainer.world_size if left out.")] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the CPU.", show_default="those of this machine")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.json, where its folder is not here.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Mean length of a prompt.")] = 256,
    mfu: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the GPU's FLOP/s that is used.")] = 0.4,
) -> None:
    """Estimate memory, tokens and time of each stage (docs/planning.md has the formulas)."""
    from selfreward.estimate.devices import GPUS, Cpu, has_gpu, this_cpu
    from selfreward.estimate.memory import GB, MASTER_BYTES
    from selfreward.estimate.shape import shape_of
    from selfreward.estimate.stages import plan_run, seed_sizes
    from selfreward.estimate.time import Assumptions
    from selfreward.loop.load import load_recipe
    from selfreward.recipe.recipe import RecipeError

    name = device or (_DEFAULT_GPU if has_gpu() else "cpu")
    if name != "cpu" and name not in GPUS:
        raise RecipeError(f"--device {name} is not known; give one of cpu, {', '.join(GPUS)}")
    chosen = this_cpu(cores) if name == "cpu" else GPUS[name]
    resolved = load_recipe(recipe, overrides or [])
    shape = shape_of(resolved, config)
    seed, assumed = seed_sizes(resolved)
    by = Assumptions(chosen, gpus or resolved.trainer.world_size, prompt_tokens, mfu)
    stages, world = plan_run(resolved, shape, seed, by), resolved.trainer.world_size
    _say(f"{resolved.name}: {shape.parameters / 1e6:,.0f} M parameters, {resolved.method}\n")
    stdout.print(_memory_table(stages))
    stdout.print()
    stdout.print(_time_table(stages))
    stdout.print()
    whole = _duration(sum(stage.generating + stage.training for stage in stages))
    if isinstance(chosen, Cpu):
        _say(f"{whole} on {chosen.cores} cores {'with' if chosen.bf16 else 'without'} bf16, which all parts share")
    else:
        _say(f"{whole}: training on {world} x {name}, answers and judgments on {by.gpus} x {name}")
    if assumed:
        _say(f"not here, so the paper's number of rows is assumed: {', '.join(assumed)}")
    models = sum(stage.trained > 0 for stage in stages)
    kept = "" if resolved.retention.keep_checkpoints is None else ", fewer by [retention]"
    disk = models * MASTER_BYTES * shape.parameters / GB
    _say(f"Checkpoints take {disk:.1f} GB on the disk: float32 weights of {models} models{kept}.")
    engine = shape.parameters * shape.stored_bytes / GB
    _say(_verdict(stages, name, chosen, world, engine))
    if not isinstance(chosen, Cpu):
        _say(f"The engine holds a copy of the model besides: {engine:.1f} GB, and its cache.")


def needs(recipe: "Recipe") -> tuple[bool, str, float]:
    """Whether this machine's memory is enough for a recipe; the same in a sentence; GB of its checkpoints on disk."""
    from selfreward.estimate.devices import has_gpu, this_cpu
    from selfreward.estimate.memory import GB, MASTER_BYTES
    from selfreward.estimate.shape import shape_of
    from selfreward.estimate.stages import plan_run, seed_sizes
    from selfreward.estimate.time import Assumptions

    shape, world = shape_of(recipe, None), recipe.trainer.world_size
    cpu = this_cpu()
    stages = plan_run(recipe, shape, seed_sizes(recipe)[0], Assumptions(cpu, world, 256, 0.4))
    disk = sum(stage.trained > 0 for stage in stages) * MASTER_BYTES * shape.parameters / GB
    if has_gpu():
        return True, "of the GPUs: `selfreward plan` says what the recipe needs of which", disk
    verdict = _verdict(stages, "cpu", cpu, world, shape.parameters * shape.stored_bytes / GB)
    return verdict.endswith("It fits."), verdict, disk


def _say(text: str) -> None:
    """Print one line, wrapped between words."""
    stdout.print(text, markup=False, highlight=False)


def _memory_table(stages: list["StagePlan"]) -> Table:
    """Memory of a training process of each stage, in at most 80 columns."""
    table = Table("stage", box=None, pad_edge=False)
    for column in ("trained", "weights", "gradients", "optimiser", "reference", "activations", "GB"):
        table.add_column(column, justify="right")
    for stage in stages:
        memory = [f"{part:.1f}" for part in (*stage.memory, stage.memory.total)]
        table.add_row(stage.stage, _millions(stage.trained, 0), *memory)
    return table


def _time_table(stages: list["StagePlan"]) -> Table:
    """Tokens and time of each stage, in at most 80 columns."""
    table = Table("stage", box=None, pad_edge=False)
    for column in ("answer tokens", "judge tokens", "evaluation", "generating", "training"):
        table.add_column(column, justify="right")
    for stage in stages:
        tokens = [_millions(count) for count in (stage.rollout_tokens, stage.judge_tokens, stage.evaluation_tokens)]
        table.add_row(stage.stage, *tokens, _duration(stage.generating), _duration(stage.training))
    return table


def _millions(count: int, digits: int = 1) -> str:
    return f"{count / 1e6:,.{digits}f} M" if count else "-"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min" if hours else "-"


def _verdict(stages: list["StagePlan"], name: str, device: "Gpu | Cpu", world: int, engine: float) -> str:
    """Whether the memory is enough. A CPU has one memory for all training processes and the engine."""
    from selfreward.estimate.devices import GPUS, Cpu

    most = max(stages, key=lambda stage: stage.memory.total)
    shared = isinstance(device, Cpu)
    needed = most.memory.total * world + engine if shared else most.memory.total
    where = f"of the machine's {device.memory:.0f} GB, with the engine's copy" if shared else f"of {device.memory:g} GB"
    # What CUDA or the operating system, the allocator's gaps, the loss and the engine's cache take is not in the sum.
    if needed <= 0.9 * device.memory:
        return f"{most.stage} needs most: {needed:.1f} {where}. It fits."
    larger = [other for other, gpu in GPUS.items() if most.memory.total <= 0.9 * gpu.memory]
    remedy = f"a GPU with more memory ({', '.join(larger)})" if larger else "adapters ([dpo.lora], [sft.lora])"
    has = f"this machine has {device.memory:.0f}" if shared else f"{name} has {device.memory:g}"
    return (
        f"{most.stage} needs {needed:.1f} GB{'' if shared else ' of each GPU'}, and {has}, of which a tenth should "
        "stay free: lower micro_batch_size or max_length, set gradient_checkpointing=true and bf16=true, or take "
        + remedy
    )
