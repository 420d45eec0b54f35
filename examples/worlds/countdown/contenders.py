"""The contenders of the table of methods: their recipes, with the same M1, the same budget of sampled answers and the
same evaluation.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

from examples.worlds.countdown.roles import blind_ranks, build_roles
from examples.worlds.countdown.seed_data import POOL_PROMPTS, SOLUTION_ROWS, write_seed_data
from examples.worlds.countdown.world import world
from examples.worlds.models import M0
from examples.worlds.seed_files import write_rows
from examples.worlds.world import ROOT
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.recipe.recipe import Recipe

RECIPE = world().recipe
RECIPES = RECIPE.parent
EVERY_ROLE = "ift_every_role.jsonl"
BLIND_EFT = "eft_blind.jsonl"
_SEED = "runs/seed/"
"""Prefix of the world's data in the recipes' paths."""
_SAMPLINGS = {"temporal": 3, "self_improving": 2}
"""How many times a method samples `sampling.n` answers to a prompt, if more than once: `temporal` samples M1, the
policy and the future model; `self_improving` probes its questions before it samples them in training."""
VARIANTS = {
    "positives": (RECIPE.stem, ["loop.train_on=positives", "pairs.judge_pairs=0", "pairs.min_chosen_score=5"]),
    "meta_rewarding_rho0": ("meta_rewarding", ["pairs.length_control=0"]),
    "scir_consistency": ("scir", ["scir.mode=consistency", "pairs.judge_pairs=0"]),
    "self_improving_rloo": ("self_improving", ["rl.algorithm=rloo"]),
    "self_improving_ppo": ("self_improving", ["rl.algorithm=ppo"]),
    "blind_judge": (RECIPE.stem, []),
}
"""Ablations and variants of the recipes, by their name in the table: recipe and overrides."""
BLIND = "blind_judge"
"""The contender with its own M1, trained on the ranks of annotators who believe every calculation. Its judge has a hole
that the policy can exploit (reward hacking)."""
_MEASURED = {"self_rewarding": ["loop.measure_consistency=true"]}
"""Extra overrides: measure how far plain self-rewarding's models agree, as the baseline of CREAM's figure."""
EVALUATION = [
    "evaluation.prompts=500",
    "evaluation.samples=4",
    "evaluation.judged_prompts=128",
    "evaluation.temperature=0.7",
    "evaluation.top_p=0.9",
    'evaluation.judging={rubric = "countdown", votes = 3, max_tokens = 36}',
    "sampling.max_tokens=40",
]


def contenders(folder: Path = RECIPES) -> dict[str, tuple[Path, list[str]]]:
    """Recipe file and overrides of every contender by its name: each recipe of the demo's world, and the ablations.

    A recipe has the name of its file without `.toml`; the demo's recipe is `self_rewarding`.
    """
    model = str(M0.relative_to(ROOT))
    recipes = {
        name: (path, _MEASURED.get(name, []))
        for path in sorted(folder.glob("*.toml"))
        for name in ["self_rewarding" if path.name == RECIPE.name else path.stem]
        if tomllib.loads(path.read_text()).get("model") == model
    }
    return recipes | {name: (folder / f"{stem}.toml", overrides) for name, (stem, overrides) in VARIANTS.items()}


def m1_recipe(seed: int, data: Path, overrides: Sequence[str]) -> Recipe:
    """The run that trains a seed's M1 and no round, on demonstrations of all roles of the contenders."""
    roles = f"data.ift={json.dumps(str(data / EVERY_ROLE))}"
    return _recipe(RECIPE, seed, data, [roles, "loop.iterations=0", *EVALUATION, *overrides])


def write_data(seed: int, data: Path) -> None:
    """Write a seed's files, the demonstrations of further roles, one file with the demonstrations of all roles, and the
    ranks of annotators who believe every calculation."""
    write_seed_data(seed, data)
    all_lines: dict[str, None] = {}
    for stem, demonstrations in build_roles(seed).items():
        lines = [json.dumps(row) + "\n" for row in demonstrations]
        (data / f"{stem}.jsonl").write_text("".join(lines))
        all_lines |= dict.fromkeys(lines)
    (data / EVERY_ROLE).write_text("".join(all_lines))
    write_rows(data / BLIND_EFT, blind_ranks(seed))


def contender_recipe(
    name: str, seed: int, data: Path, m1: str, rounds: int, rollouts: int, overrides: Sequence[str]
) -> Recipe:
    """A contender's recipe: `rounds` rounds from the M1 of run `m1`, each with `rollouts` sampled answers.

    The recipe's number of answers to a prompt is kept, and the number of prompts is derived from it. If there are too
    few prompts, each gets more answers.
    """
    # The contender's overrides.
    path, overrides_of_contender = contenders()[name]
    content = tomllib.loads(path.read_text())
    if content["method"] == "self_improving":
        # M1 writes mostly problems of the held-out set, on which no model may train.
        overrides_of_contender = [
            *overrides_of_contender,
            "prompts.source=file",
            f"data.prompts={json.dumps(str(data / 'prompts.jsonl'))}",
            "rl.batch_size=64",
        ]
    by_round = content.get("pairs", {}).get("length_control")
    if isinstance(by_round, list):
        overrides_of_contender = [*overrides_of_contender, f"pairs.length_control={by_round[:rounds]}"]
    first = f"data.eft={json.dumps(str(data / BLIND_EFT))}" if name == BLIND else f"loop.start_from={m1}"
    common = [*overrides_of_contender, *EVALUATION, f"loop.iterations={rounds}", first]
    # The budget of sampled answers.
    plain = _recipe(path, seed, data, common)
    samplings = _SAMPLINGS.get(plain.method, 1)
    most = _prompts(plain, rounds)
    n = max(plain.sampling.n, math.ceil(rollouts / (samplings * most)))
    budget = [f"sampling.n={n}", f"prompts.per_iteration={max(1, rollouts // (samplings * n))}"]
    return _recipe(path, seed, data, [*common, *budget, *overrides])


def sampled_answers(recipe: Recipe) -> int:
    """The number of answers that all rounds of a contender sample."""
    rounds = recipe.loop.iterations * recipe.prompts.per_iteration
    return rounds * recipe.sampling.n * _SAMPLINGS.get(recipe.method, 1)


def _prompts(recipe: Recipe, rounds: int) -> int:
    """The most prompts of a round. SPIN takes the same demonstrations in every round."""
    if recipe.prompts.source == "self_instruct":
        return POOL_PROMPTS // rounds
    if not method_of(recipe).takes_prompts:
        return SOLUTION_ROWS
    rows = SOLUTION_ROWS if Path(str(recipe.data.prompts)).stem == "solutions" else POOL_PROMPTS
    return rows // rounds


def _recipe(path: Path, seed: int, data: Path, overrides: Sequence[str]) -> Recipe:
    """A recipe with this seed's data files, and human-ranked answers to evaluate judges."""
    paths_of_recipe = tomllib.loads(path.read_text())["data"] | {"eft_eval": f"{_SEED}eft_eval.jsonl"}
    places = {
        key: data / value.removeprefix(_SEED) if value.startswith(_SEED) else ROOT / value
        for key, value in paths_of_recipe.items()
    }
    files = [f"data.{key}={json.dumps(str(place))}" for key, place in places.items()]
    return load_recipe(path, [f"model={json.dumps(str(M0))}", f"seed={seed}", *files, *overrides], environment={})
