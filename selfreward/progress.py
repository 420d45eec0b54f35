"""Shows progress: bars on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

ShowProgress = Callable[[dict[str, Any]], None]
"""Receives progress events, as `RunProgress.show` does."""


class RunProgress:
    """One bar for each phase of each stage (`M1 train`), in the order of their first events. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._finished: set[tuple[str, str]] = set()

    def __enter__(self) -> "RunProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Draw one progress event (`stage`, `phase`, `done`, `total`, `message`, `metrics`)."""
        if not event.get("phase"):
            if event.get("message"):
                self.console.print(event["message"], highlight=False)
            return
        key = (event.get("stage", ""), event["phase"])
        done, total = event.get("done", 0), event.get("total", 0)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(" ".join(key), total=total or None, note="")
        note = _note(event)
        self._bars.update(self._tasks[key], completed=done, total=total or None, note=note)
        if total and done >= total and key not in self._finished:
            self._finished.add(key)
            self._bars.stop_task(self._tasks[key])
            if not self.console.is_terminal:
                self.console.print(f"{key[0]} {key[1]}: {done}/{total} {note}".rstrip(), highlight=False)


def _note(event: dict[str, Any]) -> str:
    metrics = "  ".join(f"{name} {value:.3g}" for name, value in sorted((event.get("metrics") or {}).items())[:4])
    return "  ".join(part for part in (event.get("message") or "", metrics) if part)
