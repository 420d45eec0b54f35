"""What runs a program when it is loaded, under the names that checkpoints have for it."""

import os
from pathlib import Path

PICKLES = (
    "pytorch_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "rng_state.pth",
    "consolidated.00.pth",
    "model.pkl",
)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """What unpickling calls."""
        return os.mkdir, (self.mark,)
