"""What a run needs before it starts: memory of a training process, tokens, and time. The formulas are docs/planning.md.

Estimates, and on the safe side: answers are as long as they may be, and every prompt gives as many pairs as it can.
"""

from dataclasses import dataclass
from typing import NamedTuple

from selfreward.config import Recipe, RecipeError
from selfreward.model_shape import Shape
from selfreward.optimisation import Optimisation
from selfreward.sharding import Sharding
from selfreward.training import DpoHyper

GB = 1e9
RUBRIC_TOKENS = 400
"""Tokens of a rubric around what it judges; the shipped ones for language have 250 to 500."""
CONCURRENT = 256
"""Sequences that the engine works on at once: vLLM's default."""


class Gpu(NamedTuple):
    """A GPU by its maker's data sheet: dense bf16 FLOP/s, memory bandwidth (bytes/s) and memory (GB)."""

    flops: float
    bandwidth: float
    memory: float


GPUS = {
    "rtx4090": Gpu(165e12, 1.008e12, 24),
    "l40s": Gpu(362e12, 0.864e12, 48),
    "a100": Gpu(312e12, 2.039e12, 80),
    "h100": Gpu(989e12, 3.35e12, 80),
    "h200": Gpu(989e12, 4.8e12, 141),
    "b200": Gpu(2250e12, 8.0e12, 180),
}


@dataclass(frozen=True)
class Assumptions:
    """What a recipe does not say. `mfu`: the share of a GPU's FLOP/s that is used, in training and in prefill."""

    gpu: Gpu
    gpus: int
    prompt_tokens: int = 256
    mfu: float = 0.4


class Memory(NamedTuple):
    """Memory of one training process, in GB."""

    weights: float
    gradients: float
    optimiser: float
    reference: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


class SeedSizes(NamedTuple):
    """Rows of `data.ift`, and human-ranked answers in `data.eft` and `data.eft_eval`. The paper's unless known."""

    ift: int = 3200
    eft: int = 1630 * 3
    eft_eval: int = 541 * 3


class Work(NamedTuple):
    """What a round asks of the engine: prompts, tokens answered, texts that are judged, and tokens of judgments."""

    prompts: int = 0
    answered: int = 0
    texts: int = 0
    judged: int = 0


class StagePlan(NamedTuple):
    """One stage: what it trains, its memory, the tokens that it generates at most, and its time in hours."""

    stage: str
    trained: int
    memory: Memory
    rollout_tokens: int
    judge_tokens: int
    evaluation_tokens: int
    generating: float
    training: float


def memory(shape: Shape, hyper: Optimisation, world_size: int, sharding: Sharding = "none") -> Memory:
    """Memory of one training process, which holds the whole model, or with `fsdp` its share of all but activations.

    Full training: weights, gradients and Adam's two moments in float32, and in bf16 training the copies that autocast
    makes of the weights (ZeRO, 1910.02054, section 3.1, with gradients in float32). LoRA: the weights as they are
    stored, and the rest for the adapters alone. DPO keeps a reference beside full weights; adapters are switched off.
    The layer that `fsdp` has gathered at the time is not in the sum.
    """
    each = GB * (world_size if sharding == "fsdp" else 1)
    trained = trainable(shape, hyper)
    copies = 2 * shape.parameters if hyper.bf16 and hyper.lora is None else 0
    own = 4 * trained if hyper.lora is None else shape.stored_bytes * shape.parameters + 4 * trained
    reference = 4 * shape.parameters + copies if isinstance(hyper, DpoHyper) and hyper.lora is None else 0
    return Memory(
        weights=(own + copies) / each,
        gradients=4 * trained / each,
        optimiser=8 * trained / each,
        reference=reference / each,
        activations=_activations(shape, hyper, world_size) / GB,
    )


def trainable(shape: Shape, hyper: Optimisation) -> int:
    """Parameters that are trained."""
    return shape.parameters if hyper.lora is None else shape.adapter_parameters(hyper.lora.rank)


def _activations(shape: Shape, hyper: Optimisation, world_size: int) -> float:
    """Bytes kept for the backward pass of one micro-batch of rows of full length; with DPO a row is two sequences."""
    share = max(1, hyper.batch_size // world_size)
    rows = min(hyper.micro_batch_size or share, share) * (2 if isinstance(hyper, DpoHyper) else 1)
    width = 2 if hyper.bf16 else 4
    tokens = rows * hyper.max_length
    if hyper.gradient_checkpointing:
        return tokens * width * (shape.num_hidden_layers * shape.hidden_size + shape.kept_values)
    return tokens * width * shape.num_hidden_layers * shape.kept_values


def training_hours(
    shape: Shape, hyper: Optimisation, rows: float, row_tokens: int, world: int, by: Assumptions
) -> float:
    """Hours of training on `rows` rows of `row_tokens` tokens (both answers of a pair together), all epochs.

    2 FLOPs for each parameter and token forward and 4 backward (Kaplan et al. 2020, 2001.08361, section 2.1). Frozen
    weights save 2 of these, DPO's reference costs 2, and recomputed activations 2.
    """
    each = 6 - 2 * (hyper.lora is not None) + 2 * isinstance(hyper, DpoHyper) + 2 * hyper.gradient_checkpointing
    flops = each * shape.parameters * rows * row_tokens * hyper.epochs
    return flops / (world * by.gpu.flops * by.mfu) / 3600


def generating_hours(shape: Shape, read: float, written: float, length: int, by: Assumptions) -> float:
    """Hours to read (prefill) and write (decode) that many tokens in sequences of `length` tokens, on all GPUs.

    Reading is bound by compute. Writing a token of each of `CONCURRENT` sequences reads all weights and their caches
    once, and takes whichever is longer, that or its compute (Pope et al. 2022, 2211.05102, section 2).
    """
    compute = 2 * shape.parameters / (by.gpu.flops * by.mfu)
    cached = CONCURRENT * length * shape.cached_values * 2
    moved = (shape.parameters * shape.stored_bytes + cached) / by.gpu.bandwidth / CONCURRENT
    return (read * compute + written * max(compute, moved)) / by.gpus / 3600


def plan_run(recipe: Recipe, shape: Shape, seed: SeedSizes, by: Assumptions) -> list[StagePlan]:
    """Each trained stage of a run, M0 left out: it is taken as it is.

    Raises RecipeError for methods whose rounds make no pairs of one prompt's answers.
    """
    if recipe.method in ("self_improving", "constitutional"):
        raise RecipeError(
            f"method = {recipe.method!r} is not planned for: its rounds are not counted by these formulas"
        )
    made = []
    if recipe.loop.use_eft:
        made.append(_stage(recipe, shape, "SFT", recipe.baseline_sft, seed.ift, Work(), seed, by))
        judgments = seed.eft * recipe.eft.judgments
        work = Work(texts=seed.eft, judged=judgments * recipe.judging.max_tokens)
        made.append(_stage(recipe, shape, "M1", recipe.sft, seed.ift + judgments, work, seed, by))
    else:
        made.append(_stage(recipe, shape, "M1", recipe.baseline_sft, seed.ift, Work(), seed, by))
    prompts = recipe.prompts.per_iteration
    texts, judged = (prompts * each for each in judged_of_a_prompt(recipe))
    # The past, the present and the future model answer each prompt.
    answers = recipe.sampling.n * (3 if recipe.method == "temporal" else 1)
    work = Work(prompts, prompts * answers * recipe.sampling.max_tokens, texts, judged)
    for number in range(2, recipe.loop.iterations + 2):
        pairs = prompts * pairs_of_a_prompt(recipe) * (1 + sum(recipe.loop.replay[: number - 2]))
        if recipe.loop.train_on == "pairs":
            made.append(_stage(recipe, shape, f"M{number}", recipe.dpo, pairs, work, seed, by))
        else:
            made.append(_stage(recipe, shape, f"M{number}", recipe.sft, seed.ift + pairs, work, seed, by))
    return made


def pairs_of_a_prompt(recipe: Recipe) -> float:
    """Pairs that a prompt can give, judge pairs included; those that train a future model too count twice."""
    n, steps = recipe.sampling.n, recipe.process.max_steps
    found = {"dno": n * (n + 1) / 2, "spin": float(n), "scir": n // 2, "process": steps}
    own = found.get(recipe.method, _models(recipe))
    of_meta_judge = recipe.meta.share if recipe.method == "meta_rewarding" else 0
    return own * (1 + recipe.pairs.judge_pairs + of_meta_judge)


def _models(recipe: Recipe) -> int:
    """Models that a round trains: with method `temporal` a future one too."""
    return 2 if recipe.method == "temporal" else 1


def judged_of_a_prompt(recipe: Recipe) -> tuple[int, int]:
    """How many texts the judge reads about a prompt's answers, and how many tokens it writes about them at most."""
    if recipe.method in ("spin", "cream"):
        return 0, 0
    if recipe.method == "scir" and recipe.scir.judge == "pairwise":
        shown = recipe.sampling.n // 2 * 2
        return shown, shown * recipe.scir.votes * recipe.scir.max_tokens
    if recipe.method == "process":
        # Every two candidates of each step in both orders. They are n answers in all, however many the steps.
        shown = recipe.process.max_steps * recipe.sampling.n * (recipe.sampling.n - 1)
        return shown, shown * recipe.process.judging.votes * recipe.process.judging.max_tokens
    answers = 3 * recipe.sampling.n if recipe.method == "temporal" else recipe.sampling.n + (recipe.method == "dno")
    judged = answers * recipe.judging.votes * recipe.judging.max_tokens
    if recipe.method == "meta_rewarding":
        shown = recipe.judging.votes * (recipe.judging.votes - 1)
        return answers + shown, judged + shown * recipe.meta.max_tokens
    return answers, judged


def _stage(
    recipe: Recipe,
    shape: Shape,
    stage: str,
    hyper: Optimisation,
    rows: float,
    work: Work,
    seed: SeedSizes,
    by: Assumptions,
) -> StagePlan:
    sampling, judging, plan = recipe.sampling, recipe.judging, recipe.evaluation
    judgments = min(plan.judged_prompts, plan.prompts) * plan.samples + seed.eft_eval
    evaluated = plan.prompts * (plan.samples + 1) * sampling.max_tokens
    evaluated += judgments * judging.votes * judging.max_tokens
    length = by.prompt_tokens + sampling.max_tokens
    # A prompt is read once for all its samples, a text once for all votes on it: the engine shares what is common.
    asked, texts = work.prompts + 2 * plan.prompts, work.texts + judgments
    read = asked * by.prompt_tokens + texts * (RUBRIC_TOKENS + length)
    written = work.answered + work.judged + evaluated
    world = recipe.trainer.world_size
    row = min(hyper.max_length, length) * (2 if isinstance(hyper, DpoHyper) else 1)
    return StagePlan(
        stage=stage,
        trained=trainable(shape, hyper),
        memory=memory(shape, hyper, world, recipe.trainer.sharding),
        rollout_tokens=work.answered,
        judge_tokens=work.judged,
        evaluation_tokens=evaluated,
        generating=generating_hours(shape, read, written, length, by),
        training=training_hours(shape, hyper, rows, row, world, by),
    )
