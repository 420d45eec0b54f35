"""`selfreward export`: take a trained model, or the pairs that trained it, away from the artifact store."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from selfreward.cli.options import Artifacts, RunName
from selfreward.cli.output import say


def export(
    run_id: RunName,
    model: Annotated[
        str | None, typer.Argument(help="A model of the run, for example M3; without it, pairs are exported.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Of pairs: the model that they trained.")] = "M2",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new folder, or for pairs a .jsonl or .parquet file.", show_default="RUN-MODEL, pairs.jsonl"
        ),
    ] = None,
    layout: Annotated[
        Literal["pairs", "kto"], typer.Option(help="Of pairs: pairs (for DPO), or kto: single answers with a label.")
    ] = "pairs",
    artifacts: Artifacts = None,
) -> None:
    """Copy a model's checkpoint into a folder of its own; or write a round's preference pairs for TRL.

    The folder is in Hugging Face layout: safetensors, configuration, tokenizer and chat template, and the manifest that
    says where the weights come from. Adapters are merged into them. Every file is checked.

    Pairs come from the orchestrator, in TRL's conversational format: JSON Lines or, with pyarrow, Parquet.

    Examples: selfreward export mine M3 --out models/mine; selfreward export mine --stage M2 --out pairs.parquet
    """
    if model is None:
        _export_pairs(run_id, stage, out or Path("pairs.jsonl"), layout)
        return

    from selfreward.files.model import copy_model
    from selfreward.settings import Settings
    from selfreward.store.artifacts import ArtifactStore

    folder = out or Path(f"{run_id}-{model}")
    copied = copy_model(ArtifactStore(artifacts or Settings().artifacts), run_id, model, folder)
    say(f"{folder}: {copied / 1e6:,.1f} MB")
    say(f"serve it: selfreward up --model {folder}, or vllm serve {folder}")


def _export_pairs(run: str, stage: str, out: Path, layout: Literal["pairs", "kto"]) -> None:
    from selfreward.cli.runs.control import orchestrator
    from selfreward.files.export import check_out, write_export

    check_out(out)
    with orchestrator() as client:
        write_export(client.export(run, stage, layout), out, layout)
    say(f"{out}: {out.stat().st_size:,} bytes")
