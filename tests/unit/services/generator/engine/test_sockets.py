"""That no engine's sockets outlive it: a folder is removed by its holder, or by the next one where that was killed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from services.generator.engine.sockets import SocketFolder
from tests.support.places import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from services.generator.engine.sockets import SocketFolder
print(SocketFolder(Path(sys.argv[1])).path, flush=True)
time.sleep(600)
"""


def holder(work_dir: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another replica in the same working directory, and the folder that it holds."""
    command = [sys.executable, "-c", HOLDER, str(work_dir)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def folders(work_dir: Path) -> set[Path]:
    return {path for path in work_dir.iterdir() if path.is_dir()}


def test_what_a_killed_replica_has_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    (killed, left), (living, kept) = holder(tmp_path), holder(tmp_path)
    try:
        (left / "socket").touch()
        assert folders(tmp_path) == {left, kept}
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        mine = SocketFolder(tmp_path)
        assert folders(tmp_path) == {kept, mine.path}
        mine.remove()
        mine.remove()
        assert folders(tmp_path) == {kept}
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate()


def test_a_started_program_does_not_hold_the_folder_after_its_gateway(tmp_path: Path) -> None:
    """An engine that takes its time to end would otherwise keep the folder from the next replica."""
    starts = HOLDER.replace("time.sleep(600)", "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)")
    command = [sys.executable, "-W", "ignore", "-c", starts, str(tmp_path)]
    done = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    left, started = (done.stdout.readline().strip() for _ in range(2))
    try:
        done.wait()
        assert folders(tmp_path) == {Path(left)}
        mine = SocketFolder(tmp_path)
        assert folders(tmp_path) == {mine.path}
        mine.remove()
    finally:
        os.kill(int(started), signal.SIGKILL)
        done.stdout.close()


def test_sockets_fit_however_long_the_working_directory_is(tmp_path: Path) -> None:
    work_dir = tmp_path / ("d" * 100)
    work_dir.mkdir()
    folder = SocketFolder(work_dir)
    before = Path.cwd()
    os.chdir(work_dir)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder.name}/{'0' * 36}")
    finally:
        os.chdir(before)
    assert (folder.path / ("0" * 36)).is_socket()
    folder.remove()
