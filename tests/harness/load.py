"""Requests to the judge for as long as this runs, in a container of its own; at SIGTERM it says how they went.

Started as a file with only `selfreward` beside it, as any caller's program would be.
"""

import json
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from selfreward import JudgeClient

AT_ONCE = 8
_enough = threading.Event()


def ask(caller: int) -> Counter[str]:
    """One caller: requests until it is told to end, counted by what came of them."""
    counts: Counter[str] = Counter()
    with JudgeClient() as client:
        for number in count():
            if _enough.is_set():
                return counts
            # Always another question: the cache must not answer in the engine's place.
            answers = [(f"Use {caller} {number} to make {text} .", "1 + 1 = 2") for text in "12"]
            try:
                judged = client.judge(answers, rubric="countdown", votes=2)
            except Exception as error:  # whatever a caller would see counts
                print(repr(error), file=sys.stderr)
                counts["lost"] += 1
            else:
                failed = [vote for result in judged.data for vote in result.votes if vote.status == "error"]
                counts["lost" if failed else "answered"] += 1
    raise AssertionError("count() never ends")


def main() -> None:
    """Ask until SIGTERM, then print the counts as JSON."""
    signal.signal(signal.SIGTERM, lambda *_: _enough.set())
    with ThreadPoolExecutor(AT_ONCE) as callers:
        print(json.dumps(dict(sum(callers.map(ask, range(AT_ONCE)), Counter()))))


if __name__ == "__main__":
    main()
