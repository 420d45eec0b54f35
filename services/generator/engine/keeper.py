"""Runs a command and makes sure that it, and all it started, ends with the process that asked for it.

Started with a pipe on standard input that only its parent holds: when the parent ends, even by SIGKILL, the pipe
closes and the whole process group is stopped. (PR_SET_PDEATHSIG would be tied to the thread that forked, and would
reach the command only, not the workers that it started.) Uses the standard library only and is run as a file.
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
    """SIGTERM to the process group, `patience` seconds, then SIGKILL: to the caller as well."""
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """`keeper.py <seconds between SIGTERM and SIGKILL> <command...>`; must lead its own process group."""
    patience, command = float(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The ignored SIGTERM is inherited through exec, so the command has to get the default back.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_default_sigterm)
    threading.Thread(target=_stop_when_parent_ends, args=(child, patience), daemon=True).start()
    child.wait()
    # The command ended by itself: nothing that it started may outlive it.
    os.killpg(0, signal.SIGKILL)


def _default_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
