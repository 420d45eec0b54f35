"""The answers that an RL job samples and their rewards, kept as they come: a file for each process of the job."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from selfreward.contracts.reinforcement import Sample

_NAME = "samples-{rank}.jsonl"


class SampleLog:
    """Appends to the job folder's file of process `rank`.

    Training goes on from checkpoint `step`: what was sampled after it trains nothing any more, and is dropped.
    """

    def __init__(self, folder: Path, rank: int, step: int) -> None:
        self._path = folder / _NAME.format(rank=rank)
        kept = [sample for sample in _read(self._path) if sample.step <= step]
        self._path.write_text("".join(f"{sample.model_dump_json()}\n" for sample in kept))

    def write(self, samples: Sequence[Sample]) -> None:
        """Add the answers of a step."""
        with self._path.open("a") as stream:
            stream.writelines(f"{sample.model_dump_json()}\n" for sample in samples)


def all_samples(folder: Path) -> list[Sample]:
    """The answers of all processes of a job, by step."""
    found = [sample for path in sorted(folder.glob(_NAME.format(rank="*"))) for sample in _read(path)]
    return sorted(found, key=lambda sample: sample.step)


def _read(path: Path) -> Iterator[Sample]:
    """Whole lines: a kill may have cut the last one short."""
    lines: Iterable[str] = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        yield Sample.model_validate(json.loads(line))
