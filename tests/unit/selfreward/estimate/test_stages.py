"""What a recipe needs: parameter counts against published ones and a real checkpoint, and the formulas by hand."""

import json
import struct
from math import prod
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.contracts.optimisation import Lora
from selfreward.contracts.training import DpoHyper, SftHyper
from selfreward.estimate.devices import GPUS
from selfreward.estimate.memory import memory
from selfreward.estimate.shape import KNOWN, shape_of
from selfreward.estimate.stages import SeedSizes, plan_run
from selfreward.estimate.time import Assumptions, generating_hours, training_hours
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.recipe.recipe import RecipeError
from tests.support.places import RECIPES, ROOT

HARDWARE = {"qwen0.5b-1gpu": "rtx4090", "llama8b-8gpu": "h100", "llama70b-lora": "b200"}
BY = Assumptions(GPUS["h100"], gpus=8)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("qwen2.5-0.5b", 494_032_768), ("llama-3-8b", 8_030_261_248), ("llama-3-70b", 70_553_706_496)],
)
def test_parameters_are_the_published_number(name: str, parameters: int) -> None:
    assert KNOWN[name].parameters == parameters


def test_parameters_of_a_checkpoint_are_those_in_its_file() -> None:
    recipe = load_recipe(RECIPES / "countdown.toml", environment={})
    shape = shape_of(recipe.model_copy(update={"model": str(ROOT / recipe.model)}))
    with (ROOT / recipe.model / "model.safetensors").open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    stored = sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    assert shape.parameters == stored
    assert shape.stored_bytes == 4


def test_adapters_are_two_thin_matrices_for_each_linear_map() -> None:
    shape = KNOWN["llama-3-8b"]
    each = 4 * (4096 + 4096) - 2 * (4096 - 1024) + 3 * (4096 + 14336)
    assert shape.adapter_parameters(16) == 16 * 32 * each


def test_memory_by_hand() -> None:
    shape = KNOWN["llama-3-8b"]
    billions = shape.parameters / 1e9
    whole = memory(shape, DpoHyper(bf16=True, micro_batch_size=1, max_length=2048, gradient_checkpointing=True), 8)
    assert whole.weights == pytest.approx(6 * billions)
    assert (whole.gradients, whole.optimiser) == pytest.approx((4 * billions, 8 * billions))
    assert whole.reference == pytest.approx(6 * billions)
    layer = 6 * 4096 + 2 * 1024 + 4 * 14336
    assert whole.activations == pytest.approx(2 * 2048 * 2 * (32 * 4096 + layer) / 1e9)
    assert whole.total == pytest.approx(24 * billions + whole.activations)
    thin = memory(shape, DpoHyper(bf16=True, micro_batch_size=1, lora=Lora(rank=16)), 8)
    adapters = shape.adapter_parameters(16) / 1e9
    assert thin.weights == pytest.approx(2 * billions + 4 * adapters)
    assert (thin.gradients, thin.optimiser, thin.reference) == pytest.approx((4 * adapters, 8 * adapters, 0))
    parts = memory(shape, SftHyper(), 64, "fsdp")
    # ZeRO (1910.02054), figure 1: 16 bytes for each parameter, over 64 processes 1.9 GB for 7.5 billion parameters.
    assert (parts.weights + parts.gradients + parts.optimiser) * 7.5 / billions == pytest.approx(1.9, abs=0.05)
    assert parts.activations == memory(shape, SftHyper(), 64).activations
    kept = memory(shape, SftHyper(micro_batch_size=3, max_length=100), 1)
    assert kept.activations == pytest.approx(3 * 100 * 4 * 32 * layer / 1e9)


def test_time_by_hand() -> None:
    shape = KNOWN["llama-3-8b"]
    speed = 8 * 989e12 * 0.4 * 3600
    hours = training_hours(shape, SftHyper(epochs=2), 1000, 500, 8, BY)
    assert hours == pytest.approx(6 * shape.parameters * 1000 * 500 * 2 / speed)
    dpo = DpoHyper(lora=Lora(), gradient_checkpointing=True)
    assert training_hours(shape, dpo, 1000, 500, 8, BY) == pytest.approx(8 * shape.parameters * 500_000 / speed)
    assert generating_hours(shape, 1e6, 0, 1000, BY) == pytest.approx(2 * shape.parameters * 1e6 / speed)
    weights, caches = 2 * shape.parameters, 256 * 1000 * 2 * 32 * 1024 * 2
    moved = (weights + caches) / 3.35e12 / 256
    assert generating_hours(shape, 0, 1e6, 1000, BY) == pytest.approx(moved * 1e6 / 8 / 3600)


def test_stages_and_tokens_are_the_recipes() -> None:
    recipe = load_recipe(RECIPES / "llama8b-8gpu.toml", environment={})
    stages = plan_run(recipe, KNOWN["llama-3-8b"], SeedSizes(), BY)
    assert [stage.stage for stage in stages] == ["M0", "SFT", "M1", "M2", "M3", "M4", "M5"]
    assert {stage.rollout_tokens for stage in stages[3:]} == {5000 * 7 * 1024}
    assert {stage.judge_tokens for stage in stages[3:]} == {5000 * 7 * 11 * 512}
    assert stages[2].judge_tokens == 1630 * 3 * recipe.eft.judgments * 512
    assert stages[3].trained == KNOWN["llama-3-8b"].adapter_parameters(64)
    base, baseline, *_ = stages
    answers = recipe.evaluation.prompts * (recipe.evaluation.samples + 1) * 1024
    assert (base.evaluation_tokens, base.judge_tokens, base.trained, base.memory.total) == (answers, 0, 0, 0)
    assert baseline.evaluation_tokens > answers
    assert 0 < base.generating < baseline.generating


def test_what_another_run_has_trained_is_not_trained_again() -> None:
    recipe = load_recipe(RECIPES / "llama8b-8gpu.toml", ["loop.start_from=mine"], environment={})
    stages = plan_run(recipe, KNOWN["llama-3-8b"], SeedSizes(), BY)
    assert [stage.stage for stage in stages] == ["M2", "M3", "M4", "M5"]


@pytest.mark.parametrize(
    ("name", "pairs", "judged"),
    [
        ("countdown", 1, (4, 4 * 3 * 36)),
        ("spin", 1, (0, 0)),
        ("dno", 15 * 1.2, (6, 6 * 3 * 36)),
        ("cream", 1.5, (0, 0)),
        ("scir", 2 * 1.5, (4, 4 * 3 * 36)),
        ("temporal", 2 * 1.5, (12, 12 * 3 * 36)),
        ("process", 4, (4 * 12, 4 * 12 * 84)),
        ("constitutional", 1, (2 * 5, 2 * 5 * 84)),
        ("self_improving", 8, (8, 8 * 3 * 36)),
    ],
)
def test_pairs_and_judgments_of_a_prompt(name: str, pairs: float, judged: tuple[int, int]) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml", environment={})
    method = method_of(recipe)
    assert method.rows_per_prompt(recipe, "M2") == pytest.approx(pairs)
    of_models = [method.judging_per_prompt(recipe, stage) for stage in method.rounds(recipe) if stage.endswith("2")]
    assert tuple(map(sum, zip(*of_models, strict=True))) == judged


def test_a_search_that_goes_back_samples_and_compares_two_steps_more_each_time() -> None:
    recipe = load_recipe(RECIPES / "process.toml", ["process.backtracks=2"], environment={})
    assert method_of(recipe).judging_per_prompt(recipe, "M2") == (8 * 12, 8 * 12 * 84)
    assert method_of(recipe).cost(recipe, "M2").answered == 600 * 8 * 4 * 40
    assert method_of(recipe).rows_per_prompt(recipe, "M2") == 4


def test_a_meta_judge_compares_every_two_votes_on_an_answer_in_both_orders() -> None:
    overrides = ["sampling.n=7", "judging.votes=11", "judging.max_tokens=10", "meta.max_tokens=100", "meta.share=0.5"]
    recipe = load_recipe(RECIPES / "meta_rewarding.toml", overrides, environment={})
    assert method_of(recipe).judging_per_prompt(recipe, "M2") == (7 + 110, 7 * 11 * 10 + 110 * 100)
    assert method_of(recipe).rows_per_prompt(recipe, "M2") == pytest.approx(1.5 + recipe.pairs.judge_pairs)
    # The third round trains no judge (meta.judge_iterations), so nobody judges judgments in it.
    assert method_of(recipe).judging_per_prompt(recipe, "M4") == (7, 7 * 11 * 10)
    assert method_of(recipe).rows_per_prompt(recipe, "M4") == pytest.approx(1 + recipe.pairs.judge_pairs)


def test_a_comparing_judge_reads_each_pair_in_both_orders() -> None:
    overrides = ["scir.judge=pairwise", "scir.votes=2", "scir.max_tokens=100", "sampling.n=5"]
    recipe = load_recipe(RECIPES / "scir.toml", overrides, environment={})
    assert method_of(recipe).judging_per_prompt(recipe, "M2") == (4, 4 * 2 * 100)


@pytest.mark.parametrize("name", HARDWARE)
def test_recipes_for_real_hardware_are_valid_and_fit_their_gpus(name: str) -> None:
    path = str(RECIPES / f"{name}.toml")
    dry = CliRunner().invoke(app, ["run", path, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.output)["name"] == name
    planned = CliRunner().invoke(app, ["plan", path, "--gpu", HARDWARE[name]], env={"COLUMNS": "200"})
    assert planned.exit_code == 0, planned.output
    assert "It fits." in planned.output


def test_what_does_not_fit_is_said_with_a_remedy() -> None:
    path = str(RECIPES / "llama70b-lora.toml")
    planned = CliRunner().invoke(app, ["plan", path, "--gpu", "h100"], env={"COLUMNS": "400"})
    assert "h100 has 80" in planned.output
    assert "a GPU with more memory (b200)" in planned.output


def test_seed_files_that_are_here_are_counted(tmp_path: Path) -> None:
    ranked = {"prompt": "q", "responses": [{"text": "a", "rank": 1}, {"text": "b", "rank": 2}]}
    (tmp_path / "eft.jsonl").write_text(json.dumps(ranked) + "\n" + json.dumps(ranked) + "\n")
    recipe = str(RECIPES / "qwen0.5b-1gpu.toml")
    given = f"data.eft={json.dumps(str(tmp_path / 'eft.jsonl'))}"
    planned = CliRunner().invoke(app, ["plan", recipe, given], env={"COLUMNS": "200"})
    assert "assumed: data.ift, data.eft_eval" in planned.output


def test_a_model_of_another_layout_or_without_a_shape_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "countdown.toml", ["model=elsewhere/unknown"], environment={})
    with pytest.raises(RecipeError, match=r"'elsewhere/unknown' is not here .*give it with --config"):
        shape_of(recipe)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "mixtral"}))
    with pytest.raises(RecipeError, match="model_type = 'mixtral' is of another layout: only llama, "):
        shape_of(recipe, file)
    file.write_text(json.dumps({"model_type": "llama", "hidden_size": 0}))
    with pytest.raises(RecipeError, match="hidden_size = 0"):
        shape_of(recipe, file)
    with pytest.raises(RecipeError, match=r"does not exist; give the config\.json of a checkpoint"):
        shape_of(recipe, tmp_path / "none.json")


def test_older_configs_name_the_dtype_otherwise_and_may_leave_key_heads_out(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", "vocab_size": 10, "torch_dtype": "float32", **sizes}))
    recipe = load_recipe(RECIPES / "countdown.toml", environment={})
    shape = shape_of(recipe, file)
    assert (shape.num_key_value_heads, shape.stored_bytes) == (2, 4)
