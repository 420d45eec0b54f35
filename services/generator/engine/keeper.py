"""Runs a command, and stops it with everything that it has started when the process that asked for it ends.

The keeper has a pipe on standard input that only its parent holds. When the parent ends, even by SIGKILL, the pipe
closes and the keeper stops its whole process group. (PR_SET_PDEATHSIG would be tied to the thread that forked, and
would reach the command only, not the workers that it started.) It uses the standard library alone and runs as a file.
"""

import os
import signal
import subprocess
import sys
import threading
import time


def _stop_when_parent_ends(child: "subprocess.Popen[bytes]", patience: float) -> None:
    while os.read(0, 4096):
        pass
    stop_group(child, patience)


def stop_group(child: "subprocess.Popen[bytes]", patience: float) -> None:
    """Send SIGTERM to the process group, and after up to `patience` seconds SIGKILL, which ends the caller as well."""
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run `keeper.py <seconds between SIGTERM and SIGKILL> <command...>`, which must lead its own process group."""
    patience, command = float(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A command inherits an ignored SIGTERM, so it has to get the default back.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_default_sigterm)
    threading.Thread(target=_stop_when_parent_ends, args=(child, patience), daemon=True).start()
    child.wait()
    # The command has ended by itself: nothing that it started may outlive it.
    os.killpg(0, signal.SIGKILL)


def _default_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
