"""Problems of a generator of reasoning-gym by index, and its seed files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.seed_files import write_files
from examples.worlds.world import WorldError
from selfreward.loop.constitution import fill

HELDOUT: Final = 500
EFT_EVAL: Final = 100
POOL: Final = 2000
"""How many problems nobody trains on, and how many the seeds divide differently."""
ANSWERS: Final = 300
REVIEWS: Final = 300
EFT: Final = 100
RUBRICS: Final = Path(__file__).resolve().parent / "rubrics"
_WRONG: Final = 3
_MOST_TRIES: Final = 50

Entry = dict[str, Any]
"""An item of the library: `question`, `answer` (None where it has none) and `metadata`."""


def generator(name: str) -> Any:
    """The library's generator, with a fixed seed. WorldError if the library or the generator is not there."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise WorldError(f"reasoning_gym:{name} needs a package: pip install 'reasoning-gym' ({error})") from error
    names = sorted(reasoning_gym.factory.DATASETS)
    if name not in names:
        raise WorldError(f"reasoning_gym has no generator {name!r}: choose one of {', '.join(names)}")
    return reasoning_gym.create_dataset(name, seed=0, size=10**6)


@cache
def entries(name: str) -> list[Entry]:
    """The problems in the order of their indices, each question once: held out, to evaluate judges, then the pool."""
    dataset = generator(name)
    found: dict[str, Entry] = {}
    wanted = HELDOUT + EFT_EVAL + POOL
    for index in range(3 * wanted):
        entry = dict(dataset[index])
        found.setdefault(entry["question"].strip(), entry)
        if len(found) == wanted:
            return list(found.values())
    raise WorldError(f"reasoning_gym:{name} has only {len(found)} different problems in {3 * wanted}: too few")


def entry_of(name: str, prompt: str) -> Entry:
    """The item that asks `prompt`. ValueError if none does."""
    found = _by_question(name).get(prompt.strip())
    if found is None:
        raise ValueError(f"no problem of reasoning_gym:{name}: {prompt[:80]!r}")
    return found


def review_prompt(prompt: str, response: str) -> str:
    """The filled rubric: what the judge reads."""
    template = (RUBRICS / "correct" / "template.txt").read_text().removesuffix("\n")
    return fill(template, prompt=prompt, response=response)


def write_seed_data(name: str, seed: int, out: Path) -> dict[str, int]:
    """Write the five files of a seed; returns their numbers of rows by stem.

    The library's answers are the demonstrations. Wrong answers are right answers to other problems.
    """
    dataset, items, rng = generator(name), entries(name), Random(seed)
    heldout, eft_eval, pool = items[:HELDOUT], items[HELDOUT : HELDOUT + EFT_EVAL], items[HELDOUT + EFT_EVAL :]
    pool = [entry for entry in rng.sample(pool, len(pool)) if isinstance(entry["answer"], str)]
    if len(pool) < ANSWERS + REVIEWS + EFT:
        raise WorldError(f"reasoning_gym:{name} gives too few answers to learn from ({len(pool)}): write a world of it")
    demonstrated, reviewed, ranked, asked = (
        pool[:ANSWERS],
        pool[ANSWERS : ANSWERS + REVIEWS],
        pool[ANSWERS + REVIEWS : ANSWERS + REVIEWS + EFT],
        pool[ANSWERS + REVIEWS + EFT :],
    )
    ift = [{"prompt": entry["question"].strip(), "response": entry["answer"]} for entry in demonstrated]
    for entry in reviewed:
        right = rng.random() < 0.5
        answer = entry["answer"] if right else _wrong_answers(dataset, entry, pool, 1, rng)[0]
        verdict = f"Verdict: {'correct' if right else 'incorrect'}"
        ift.append({"prompt": review_prompt(entry["question"].strip(), answer), "response": verdict})
    rng.shuffle(ift)
    files: dict[str, list[dict[str, Any]]] = {
        "ift": ift,
        "eft": [_comparison(dataset, entry, pool, rng) for entry in ranked],
        "eft_eval": [_comparison(dataset, e, pool, rng) for e in eft_eval if isinstance(e["answer"], str)],
        "prompts": [{"prompt": entry["question"].strip()} for entry in asked],
        "heldout": [{"prompt": entry["question"].strip()} for entry in heldout],
    }
    return write_files(files, out)


@cache
def _by_question(name: str) -> dict[str, Entry]:
    return {entry["question"].strip(): entry for entry in entries(name)}


def _comparison(dataset: Any, entry: Entry, pool: list[Entry], rng: Random) -> dict[str, Any]:
    wrong = _wrong_answers(dataset, entry, pool, _WRONG, rng)
    responses = [{"text": entry["answer"], "rank": 1}, *({"text": text, "rank": 2} for text in wrong)]
    return {"prompt": entry["question"].strip(), "responses": rng.sample(responses, len(responses))}


def _wrong_answers(dataset: Any, entry: Entry, pool: list[Entry], count: int, rng: Random) -> list[str]:
    """Different answers to other problems that do not solve this one. At least one, or WorldError."""
    found: list[str] = []
    for other in rng.choices(pool, k=_MOST_TRIES):
        text = other["answer"]
        if text not in found and dataset.score_answer(text, entry) < 1:
            found.append(text)
        if len(found) == count:
            break
    if not found:
        raise WorldError(f"no answer to another problem is wrong for {entry['question'][:80]!r}: write a world of it")
    return found
