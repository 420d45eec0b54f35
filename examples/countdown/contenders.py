"""Which recipes the table of methods compares, and how each is put on the same footing: the same M1, the same budget of
sampled answers, the same evaluation.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

from examples.countdown.demo import MODEL, RECIPE, ROOT
from examples.countdown.roles import blind_ranks, build_roles
from examples.countdown.seed_data import write_rows, write_seed_data
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.recipe.recipe import Recipe

RECIPES = RECIPE.parent
EVERY_ROLE = "ift_every_role.jsonl"
BLIND_EFT = "eft_blind.jsonl"
_SEED = "runs/seed/"
"""How the recipes' paths of the world's data begin."""
_POOL, _DEMONSTRATIONS = 2000, 3200
"""Rows of the world's prompts.jsonl and ift.jsonl."""
_SAMPLINGS = {"temporal": 3, "self_improving": 2}
"""How many times a method samples `sampling.n` answers to a prompt, where that is not once: temporal asks the policy,
M0 and the model in between; self_improving probes its questions before it trains on samples of them."""
VARIANTS = {
    "positives": (RECIPE.stem, ["loop.train_on=positives", "pairs.judge_pairs=0", "pairs.min_chosen_score=5"]),
    "meta_rewarding_rho0": ("meta_rewarding", ["pairs.length_control=0"]),
    "scir_consistency": ("scir", ["scir.mode=consistency", "pairs.judge_pairs=0"]),
    "self_improving_rloo": ("self_improving", ["rl.algorithm=rloo"]),
    "self_improving_ppo": ("self_improving", ["rl.algorithm=ppo"]),
    "blind_judge": (RECIPE.stem, []),
}
"""Ablations and other forms of the recipes, by their name in the table: recipe and overrides."""
BLIND = "blind_judge"
"""The contender that makes an M1 of its own, on the ranks of annotators who believe every calculation. Its judge has a
hole that the policy can find, which is what reward hacking takes."""
_MEASURED = {"self_rewarding": ["loop.measure_consistency=true"]}
"""What is measured besides: how alike a method's models rank answers, beside which CREAM's figure says something."""
EVALUATION = [
    "evaluation.prompts=500",
    "evaluation.samples=4",
    "evaluation.judged_prompts=128",
    "evaluation.temperature=0.7",
    "evaluation.top_p=0.9",
    'evaluation.judging={rubric = "countdown", votes = 3, max_tokens = 24}',
    "sampling.max_tokens=40",
]


def contenders(folder: Path = RECIPES) -> dict[str, tuple[Path, list[str]]]:
    """Recipe file and overrides of every contender by its name: each recipe of the demo's world, and the ablations.

    A recipe is called by its file, without `.toml`; the demo's own is `self_rewarding`.
    """
    own = str(MODEL.relative_to(ROOT))
    recipes = {
        name: (path, _MEASURED.get(name, []))
        for path in sorted(folder.glob("*.toml"))
        for name in ["self_rewarding" if path.name == RECIPE.name else path.stem]
        if tomllib.loads(path.read_text()).get("model") == own
    }
    return recipes | {name: (folder / f"{stem}.toml", overrides) for name, (stem, overrides) in VARIANTS.items()}


def m1_recipe(seed: int, data: Path, overrides: Sequence[str]) -> Recipe:
    """The run that makes a seed's M1 and nothing after it, on the demonstrations of every role that a contender has."""
    roles = f"data.ift={json.dumps(str(data / EVERY_ROLE))}"
    return _recipe(RECIPE, seed, data, [roles, "loop.iterations=0", *EVALUATION, *overrides])


def write_data(seed: int, data: Path) -> None:
    """Write a seed's files, the demonstrations of further roles, one file with the demonstrations of all roles, and the
    ranks of annotators who believe every calculation."""
    write_seed_data(seed, data)
    every: dict[str, None] = {}
    for stem, demonstrations in build_roles(seed).items():
        lines = [json.dumps(row) + "\n" for row in demonstrations]
        (data / f"{stem}.jsonl").write_text("".join(lines))
        every |= dict.fromkeys(lines)
    (data / EVERY_ROLE).write_text("".join(every))
    write_rows(data / BLIND_EFT, blind_ranks(seed))


def contender_recipe(
    name: str, seed: int, data: Path, m1: str, rounds: int, rollouts: int, overrides: Sequence[str]
) -> Recipe:
    """A contender's recipe: `rounds` rounds from the M1 of run `m1`, each with `rollouts` sampled answers.

    The recipe's number of answers to a prompt stays, and the number of prompts follows; where there are not so many
    prompts, each gets more answers.
    """
    path, own = contenders()[name]
    written = tomllib.loads(path.read_text())
    if written["method"] == "self_improving":
        # What M1 writes by itself are mostly problems of the held-out set, which nobody may train on.
        own = [
            *own,
            "prompts.source=file",
            f"data.prompts={json.dumps(str(data / 'prompts.jsonl'))}",
            "rl.batch_size=64",
        ]
    by_round = written.get("pairs", {}).get("length_control")
    if isinstance(by_round, list):
        own = [*own, f"pairs.length_control={by_round[:rounds]}"]
    first = f"data.eft={json.dumps(str(data / BLIND_EFT))}" if name == BLIND else f"loop.start_from={m1}"
    common = [*own, *EVALUATION, f"loop.iterations={rounds}", first]
    plain = _recipe(path, seed, data, common)
    samplings = _SAMPLINGS.get(plain.method, 1)
    most = _prompts(plain, rounds)
    n = max(plain.sampling.n, math.ceil(rollouts / (samplings * most)))
    budget = [f"sampling.n={n}", f"prompts.per_iteration={max(1, rollouts // (samplings * n))}"]
    return _recipe(path, seed, data, [*common, *budget, *overrides])


def sampled_answers(recipe: Recipe) -> int:
    """Answers that all rounds of a contender sample."""
    rounds = recipe.loop.iterations * recipe.prompts.per_iteration
    return rounds * recipe.sampling.n * _SAMPLINGS.get(recipe.method, 1)


def _prompts(recipe: Recipe, rounds: int) -> int:
    """The most prompts that a round may have. SPIN takes the same demonstrations in every round."""
    if recipe.prompts.source == "self_instruct":
        return _POOL // rounds
    if not method_of(recipe).takes_prompts:
        return _DEMONSTRATIONS
    rows = _DEMONSTRATIONS if Path(str(recipe.data.prompts)).stem == "ift" else _POOL
    return rows // rounds


def _recipe(path: Path, seed: int, data: Path, overrides: Sequence[str]) -> Recipe:
    """A recipe with this seed's data in the files that it names, and the human-ranked answers to measure judges on."""
    named = tomllib.loads(path.read_text())["data"] | {"eft_eval": f"{_SEED}eft_eval.jsonl"}
    places = {
        key: data / value.removeprefix(_SEED) if value.startswith(_SEED) else ROOT / value
        for key, value in named.items()
    }
    files = [f"data.{key}={json.dumps(str(place))}" for key, place in places.items()]
    return load_recipe(path, [f"model={json.dumps(str(MODEL))}", f"seed={seed}", *files, *overrides], environment={})
