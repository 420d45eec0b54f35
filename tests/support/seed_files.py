"""Checks of the seed files of a world."""

import json
from pathlib import Path

from examples.worlds.world import SEED_FILES, World


def check_seed_files(world: World, folder: Path) -> None:
    """A seed's files are the same each time, those of another seed differ, and evaluation problems are in no other."""
    counts = world.write_seed_data(3, folder / "a")
    world.write_seed_data(3, folder / "b")
    world.write_seed_data(4, folder / "c")
    first, again, other = (
        {stem: (folder / part / f"{stem}.jsonl").read_text() for stem in SEED_FILES} for part in "abc"
    )
    assert first == again
    assert first["ift"] != other["ift"]
    assert {stem: counts[stem] for stem in SEED_FILES} == {stem: len(text.splitlines()) for stem, text in first.items()}
    prompts = {stem: {json.loads(row)["prompt"] for row in text.splitlines()} for stem, text in first.items()}
    for held in ("heldout", "eft_eval"):
        for stem in set(SEED_FILES) - {held}:
            assert not prompts[held] & prompts[stem], (held, stem)


def check_ranks(world: World, folder: Path) -> None:
    """Ranks follow the points, and each row has at least two."""
    for row in map(json.loads, (folder / "eft_eval.jsonl").read_text().splitlines()):
        by_rank = sorted((answer["rank"], -world.score(row["prompt"], answer["text"])) for answer in row["responses"])
        assert [points for _, points in by_rank] == sorted(points for _, points in by_rank)
        assert len({rank for rank, _ in by_rank}) == len({points for _, points in by_rank}) > 1
