"""New prompts by Self-Instruct (Wang et al. 2023) as Yuan et al. 2024 (2401.10020, 2.2) use it, as pure functions.

A request shows eight demonstrations (six from people, two from the model once there are any) and asks a fixed model for
more tasks. Filters keep the tasks that are well formed and unlike all others.
"""

import random
import re
from collections.abc import Sequence
from typing import Any

from rapidfuzz.distance import LCSseq

from selfreward.recipe.rounds import SelfInstruct

_HUMAN, _MODEL = 6, 2
_HEADER = "Come up with a series of tasks:"
_NUMBER = re.compile(r"(?:^|\n)\s*\d+\s*[.)]\s*")
# Words of tasks that a text model cannot do, as Self-Instruct filters them.
_UNFIT = re.compile(r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")


def demonstrations(human: Sequence[str], generated: Sequence[str], rng: random.Random) -> list[str]:
    """Eight demonstrations in random order: up to two generated ones, the others from people."""
    from_model = rng.sample(list(generated), min(_MODEL, len(generated)))
    from_people = rng.sample(list(human), _HUMAN + _MODEL - len(from_model))
    chosen = [*from_people, *from_model]
    rng.shuffle(chosen)
    return chosen


def request_text(demonstrations: Sequence[str]) -> str:
    """The request: numbered demonstrations and the next number, which the model continues."""
    lines = [f"{number}. {' '.join(task.split())}" for number, task in enumerate(demonstrations, start=1)]
    return "\n".join([_HEADER, *lines, f"{len(demonstrations) + 1}."])


def parse_tasks(text: str, truncated: bool) -> list[str]:
    """Tasks of a completion that continues a numbered list. The last task is dropped if the completion is truncated.

    Text before the first number continues the request's own last number, unless it introduces a list (ends with ':').
    """
    head, *rest = _NUMBER.split(text)
    parts = rest if head.rstrip().endswith(":") else [head, *rest]
    tasks = [" ".join(part.split()) for part in parts if part.strip()]
    return tasks[:-1] if truncated else tasks


def is_well_formed(task: str, options: SelfInstruct) -> bool:
    """Whether a task passes Self-Instruct's filters: length, no unfit words, a proper start."""
    if not options.min_words <= len(task.split()) <= options.max_words:
        return False
    first = task[0]
    starts_badly = not first.isascii() or not first.isalnum()
    return not (starts_badly or task.startswith("Write a program") or _UNFIT.search(task))


def words(task: str) -> list[str]:
    """Tokens of ROUGE without a stemmer: lower-case runs of letters and digits."""
    return _WORD.findall(task.lower())


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """ROUGE-L F1 of two token sequences, 0..1."""
    if not a or not b:
        return 0.0
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b))


class Pool:
    """The accepted tasks. A new task is compared with people's prompts and with the accepted tasks."""

    def __init__(self, human: Sequence[str], accepted: Sequence[str], options: SelfInstruct) -> None:
        self.options = options
        self.accepted = list(accepted)
        self._seen = [words(task) for task in [*human, *accepted]]

    def offer(self, task: str) -> bool:
        """Accept a task that is well formed and has a ROUGE-L F1 of at most `rouge_max` with every other."""
        tokens = words(task)
        if not tokens or not is_well_formed(task, self.options):
            return False
        if any(rouge_l(tokens, other) > self.options.rouge_max for other in self._seen):
            return False
        self.accepted.append(task)
        self._seen.append(tokens)
        return True


def prompt_rows(texts: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Prompts that a model has written, as rows of a run's data: `<name>-00000`, `<name>-00001`, ..."""
    return [
        {"prompt_id": f"{name}-{number:05d}", "prompt": [{"role": "user", "content": text}]}
        for number, text in enumerate(texts)
    ]
