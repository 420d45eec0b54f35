"""What runs need that sample in training or revise their answers: all by hand, in the terms of docs/planning.md."""

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.contracts.optimisation import Lora
from selfreward.contracts.reinforcement import RlHyper
from selfreward.estimate.devices import GPUS
from selfreward.estimate.memory import memory
from selfreward.estimate.shape import KNOWN
from selfreward.estimate.stages import SeedSizes, StagePlan, plan_run
from selfreward.estimate.time import Assumptions, sampling_hours, training_hours
from selfreward.loop.load import load_recipe
from selfreward.recipe.recipe import Recipe
from tests.support.places import RECIPES, ROOT

LLAMA = KNOWN["llama-3-8b"]
P = 8_030_261_248
BY = Assumptions(GPUS["h100"], gpus=8)
FLOPS = 989e12 * 0.4
CACHED = 2 * 32 * 8 * 128
"""Values in the cache for each token: keys and values of 8 heads of 128, in 32 layers."""


def planned(name: str, *overrides: str) -> list[StagePlan]:
    recipe: Recipe = load_recipe(RECIPES / f"{name}.toml", overrides, environment={})
    return plan_run(recipe, LLAMA, SeedSizes(ift=1000, eft=300, eft_eval=60), BY)


def test_a_round_of_reinforcement_samples_and_judges_its_probe_and_its_training() -> None:
    m0, sft, m1, m2 = planned("self_improving", "rl.epochs=2", "rl.max_tokens=50")
    assert [stage.stage for stage in (m0, sft, m1, m2)] == ["M0", "SFT", "M1", "M2"]
    # 1,000 questions: 8 probed answers of 40 tokens each, then two epochs of 8 answers of 50 tokens.
    assert m2.rollout_tokens == 1000 * 8 * 40 + 2 * 1000 * 8 * 50
    assert m2.judge_tokens == (1000 * 8 + 2 * 1000 * 8) * 3 * 36
    sampled = sampling_hours(LLAMA, RlHyper(batch_size=128, max_tokens=50), 16_000, 1, BY)
    # Of prompt and answer 128 tokens remain, the recipe's max_length. GRPO: 6 and the reference's 2.
    assert m2.training == pytest.approx(sampled + 8 * P * 8000 * 128 * 2 / FLOPS / 3600)


def test_epochs_that_are_no_whole_number_sample_so_many_answers_fewer() -> None:
    (*_, m2) = planned("self_improving", "rl.epochs=0.5")
    assert m2.rollout_tokens == 1000 * 8 * 40 + 500 * 8 * 40


def test_passes_over_an_answer_by_hand() -> None:
    def passes(**hyper: object) -> float:
        hours = training_hours(LLAMA, RlHyper.model_validate(hyper), 1000, 500, 8, BY)
        return hours * 8 * FLOPS * 3600 / (P * 1000 * 500)

    assert passes(beta=0) == pytest.approx(6)
    assert passes() == pytest.approx(6 + 2)
    # As soon as answers are older than the policy, their probabilities by the policy of then are looked up first.
    assert passes(updates=3) == pytest.approx(3 * 6 + 2 + 2)
    assert passes(algorithm="rloo", beta=0) == pytest.approx(6 + 2)
    assert passes(algorithm="ppo", updates=2) == pytest.approx(2 * 6 + 2 + 2)
    assert passes(lora=Lora(), gradient_checkpointing=True, updates=2) == pytest.approx(2 * 6 + 2 + 2)


def test_time_to_sample_in_training_by_hand() -> None:
    # 16 answers at once on each of 8 GPUs, of 256 + 512 tokens, weights and caches of 4 bytes.
    hyper = RlHyper(batch_size=128)
    token = (4 * P + 16 * 768 * CACHED * 4) / 3.35e12 / 16
    each = 256 * 2 * P / FLOPS + 512 * token
    assert sampling_hours(LLAMA, hyper, 1000, 8, BY) == pytest.approx(1000 * each / 8 / 3600)
    token = (8 * P + 16 * 768 * CACHED * 4) / 3.35e12 / 16
    each = 256 * 2 * P / FLOPS + 512 * token
    bf16 = hyper.model_copy(update={"bf16": True})
    assert sampling_hours(LLAMA, bf16, 1000, 8, BY) == pytest.approx(1000 * each / 8 / 3600)
    token = (2 * P + 16 * 768 * CACHED * 2) / 3.35e12 / 16
    each = 256 * 2 * P / FLOPS + 512 * token
    thin = hyper.model_copy(update={"bf16": True, "lora": Lora()})
    assert sampling_hours(LLAMA, thin, 1000, 8, BY) == pytest.approx(1000 * each / 8 / 3600)


def test_memory_of_reinforcement_by_hand() -> None:
    kept = 6 * 4096 + 2 * 1024 + 4 * 14336
    grpo = memory(LLAMA, RlHyper(micro_batch_size=1, batch_size=8, max_length=1000), 1)
    assert grpo[:4] == pytest.approx([4 * P / 1e9, 4 * P / 1e9, 8 * P / 1e9, 4 * P / 1e9])
    assert grpo.activations == pytest.approx(1000 * 4 * 32 * kept / 1e9)
    assert memory(LLAMA, RlHyper(beta=0), 1).reference == 0
    assert memory(LLAMA, RlHyper(lora=Lora()), 1).reference == 0
    # Caches of 512 answers in float32 need more than one row to look back on.
    wide = memory(LLAMA, RlHyper(micro_batch_size=1, batch_size=512, max_length=1000), 1)
    assert wide.activations == pytest.approx(512 * 1000 * CACHED * 4 / 1e9)
    ppo = memory(LLAMA, RlHyper(algorithm="ppo", micro_batch_size=1, batch_size=8, max_length=1000, bf16=True), 1)
    # The value head has one weight for each feature, and a bias.
    assert ppo.optimiser == pytest.approx(8 * (P + 4097) / 1e9, rel=1e-12)
    assert ppo.activations == pytest.approx((1000 * 2 * 32 * kept + 1000 * (2 + 4 + 4) * 128256) / 1e9)


def test_a_constitution_revises_for_m1_and_compares_in_the_rounds() -> None:
    m0, sft, m1, m2, m3 = planned("constitutional", "sampling.n=3", "prompts.per_iteration=100")
    assert [stage.stage for stage in (m0, sft, m1, m2, m3)] == ["M0", "SFT", "M1", "M2", "M3"]
    # An answer, and two rounds of a critique and a revision, of 40 tokens each; nobody judges them.
    assert (m1.rollout_tokens, m1.judge_tokens) == (100 * 5 * 40, 0)
    # M1 learns from 1,000 demonstrations and 100 revisions in two epochs.
    assert m1.training == pytest.approx(6 * P * 1100 * 296 * 2 / FLOPS / 3600)
    # Three pairs of three answers, in both orders, by five principles.
    assert (m2.rollout_tokens, m2.judge_tokens) == (100 * 3 * 40, 100 * 3 * 2 * 5 * 84)
    assert m3.training == pytest.approx(8 * P * 300 * 2 * 296 / FLOPS / 3600)


@pytest.mark.parametrize("name", ["self_improving", "constitutional"])
def test_the_command_plans_these_methods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(app, ["plan", f"recipes/{name}.toml"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "It fits." in shown.output
