"""The child process that tries grammars: `trial_child.py <folder of the tokenizer>`. It runs as a file.

For each line `[kind, text]` on standard input it forks a process that compiles the grammar with little time and memory,
and prints null, or what is wrong as a JSON string. It ends when its input does.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import xgrammar
from tokenizers import Tokenizer

SECONDS = 2
MIB = 512
# The engine compiles with so many threads. Here it has one, whose memory can be bounded, and the CPU time that these
# have in as many seconds: with a vocabulary of 49,152 a string of at most 200 characters takes 1.9 s of it.
_THREADS = min(8, len(os.sched_getaffinity(0)))
_TOO_SLOW = f"takes longer than {SECONDS} s or more than {MIB} MiB to compile: use a smaller one"


def tokenizer(folder: Path) -> "xgrammar.TokenizerInfo":
    """The vocabulary; which bytes a token stands for changes little of what a grammar costs."""
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    return xgrammar.TokenizerInfo(sorted(vocabulary, key=vocabulary.__getitem__))


def compile_grammar(info: "xgrammar.TokenizerInfo", kind: str, text: str) -> None:
    """Compile as the engine does."""
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    if kind == "regex":
        compiler.compile_regex(text)
    else:
        compiler.compile_json_schema(text)


def tried(info: "xgrammar.TokenizerInfo", kind: str, text: str) -> str | None:
    """Compile in a process of its own; what is wrong, None when nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _limit()
        reason = b""
        try:
            compile_grammar(info, kind, text)
        except MemoryError:
            os._exit(1)
        except Exception as error:
            reason = f"cannot be compiled: {str(error)[:200]}".encode(errors="replace")
        os.write(writing, reason)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        reason = stream.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        return _TOO_SLOW
    return reason.decode(errors="replace") or None


def _limit() -> None:
    # Nothing of this process's own may be written after a limit is hit.
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS * _THREADS, SECONDS * _THREADS))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # A process that waits uses no CPU, and one on a busy machine gets little.
    signal.alarm(20 * SECONDS)


def main() -> None:
    """Try grammars until the input ends."""
    info = tokenizer(Path(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        kind, text = json.loads(line)
        print(json.dumps(tried(info, kind, text)), flush=True)


if __name__ == "__main__":
    main()
