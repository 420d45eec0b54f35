"""The library's verifiers on answers of models, in a child process that can do little.

    python -m examples.worlds.reasoning_gym.verifier NAME

reads an item and an answer as a line of JSON, and writes the score as a line. Several verifiers give the answer to
`sympy.parse_expr`, which runs it as Python. So the child has neither this process's environment nor a terminal, may not
write files, start processes or open connections (an audit hook and resource limits), and is killed when an answer takes
too long. That keeps accidents and simple attacks out; it is no sandbox against an adversary, so label runs of models
whose answers you would not run in a container.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import select
import subprocess
import sys
from functools import cache
from typing import Any, Final

from examples.worlds.reasoning_gym.items import Entry, generator
from examples.worlds.world import ROOT

MOST_CHARACTERS: Final = 4000
SECONDS: Final = 10
"""How long a verifier may take for an answer; then the answer is wrong."""
_START_SECONDS: Final = 120
_MEMORY: Final = 4 * 2**30
_DENIED: Final = ("subprocess.", "socket.", "ctypes.", "shutil.", "pty.", "signal.", "syslog.", "webbrowser.")
_DENIED_OS: Final = ("listdir", "scandir", "walk", "fwalk", "getxattr", "listxattr", "add_dll_directory")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Verifier:
    """A child that scores answers to the problems of one generator, started again after each answer that killed it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._child: subprocess.Popen[bytes] | None = None
        self._asked = 0

    def score(self, entry: Entry, answer: str) -> float:
        """The library's score, 0 to 1; 0 for an answer that is too long, or kills its verifier."""
        if len(answer) > MOST_CHARACTERS:
            return 0.0
        self._asked += 1
        asked = {"number": self._asked, "entry": entry, "answer": answer}
        try:
            number, score = self._reply(json.dumps(asked, default=str), SECONDS).split()
            if int(number) != self._asked:
                raise ValueError(f"reply {number!r} to question {self._asked}")
            return float(score)
        except (OSError, ValueError):
            self.close()
            return 0.0

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _reply(self, question: str, seconds: float) -> bytes:
        """The child's next line. TimeoutError after `seconds`, OSError if the child cannot be started or has ended."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, self._name],
                cwd=ROOT,
                env={"PATH": "", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "0"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if self._reply("", _START_SECONDS) != b"ready\n":
                raise OSError(f"the verifier of reasoning_gym:{self._name} did not start")
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise OSError("the verifier has no pipes")
        if question:
            stdin.write(question.encode() + b"\n")
            stdin.flush()
        if not select.select([stdout], [], [], seconds)[0]:
            raise TimeoutError
        return stdout.readline()


@cache
def verifier(name: str) -> Verifier:
    """The verifier of a generator; its child ends with this process."""
    made = Verifier(name)
    atexit.register(made.close)
    return made


def main() -> None:
    """Serve scores until the input ends. Only this function's own handle reaches the real output."""
    dataset = generator(sys.argv[1])
    # What verifiers import late is imported now: the first item's answer is scored before the doors close.
    first = dict(dataset[0])
    if isinstance(first["answer"], str):
        dataset.score_answer(first["answer"], first)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("ready", file=output, flush=True)
    _close_doors()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            score = float(dataset.score_answer(asked["answer"], asked["entry"]))
        except Exception:
            score = 0.0
        print(asked["number"], score, file=output, flush=True)


def _close_doors() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        _, mode, flags = arguments
        if flags & _WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
            raise PermissionError("a verifier writes no file")
    elif event.startswith(_DENIED) or (event.startswith("os.") and event.removeprefix("os.") not in _DENIED_OS):
        raise PermissionError(f"a verifier does no {event}")


if __name__ == "__main__":
    main()
