"""Shows progress: the active phase and the whole run on a terminal, a line every few seconds elsewhere."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

ShowProgress = Callable[[dict[str, Any]], None]
"""Receives progress events, as `RunProgress.show` does."""
Phase = tuple[str, str]
"""A stage (`M1`) and one of its phases (`train`)."""

_LINE_SECONDS = 5.0
_FIGURES = {
    "mean_score": "mean score {:.2f}",
    "unscored": "unscored {:.1%}",
    "loss": "loss {:.3f}",
    "rewards/accuracies": "reward accuracy {:.0%}",
    "rewards/margins": "margin {:.2f}",
    "mean_token_accuracy": "token accuracy {:.0%}",
    "reward": "reward {:.2f}",
    "kl": "kl {:.3f}",
}
"""The figures that are shown where an event has them, in this order. Others only where none of these is there."""
_SHOWN = 4


@dataclass
class _Active:
    """The phase that works now: when it began, and its last event."""

    phase: Phase
    started: float
    begun_at: int
    done: int = 0
    total: int = 0
    note: str = ""

    def rate(self, now: float) -> float:
        """Items a second since the phase was first seen; 0 before the first."""
        return max(0, self.done - self.begun_at) / max(now - self.started, 1e-9)


@dataclass
class _Stage:
    """A stage's finished phases with their seconds."""

    phases: dict[str, float] = field(default_factory=dict)

    def line(self, name: str) -> str:
        """One line: `M2   1:32   rollouts 1:20  train 0:12`; the phases under a second are left out."""
        parts = "  ".join(f"{phase} {clock(seconds)}" for phase, seconds in self.phases.items() if seconds >= 1)
        return f"{name:<5}{clock(sum(self.phases.values())):>8}   {parts}".rstrip()


class RunProgress:
    """Follows progress events. A context manager.

    On a terminal the active phase stays visible with its bar, count, rate, time left and figures, and below it the
    whole run; a finished stage becomes one line above. Elsewhere a line is printed every few seconds, never wrapped.
    `plan` has all phases of the run in order, where they are known: then the whole run's line says what is to go.
    """

    def __init__(self, console: Console, plan: Sequence[Phase] = ()) -> None:
        self.console = console
        self._plan = list(plan)
        self._stages: dict[str, _Stage] = defaultdict(_Stage)
        self._active: _Active | None = None
        self._started: float | None = None
        # What the clock of the events is ahead of this one.
        self._ahead = 0.0
        self._last_line = float("-inf")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "RunProgress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish(self._now())
        self._fold()
        if self._live.is_started:
            self._live.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Draw one progress event (`stage`, `phase`, `done`, `total`, `message`, `metrics`, `time`)."""
        moment = _moment(event)
        self._ahead = moment - time.time()
        self._started = moment if self._started is None else self._started
        if not event.get("phase"):
            if event.get("message"):
                self._say(event["message"])
            return
        phase, done = (event.get("stage") or "", event["phase"]), event.get("done") or 0
        if self._active is None or self._active.phase != phase:
            self._finish(moment)
            if self._active is not None and self._active.phase[0] != phase[0]:
                self._fold()
            self._active = _Active(phase, moment, done)
        active = self._active
        # A total that is not known yet stays open.
        active.done, active.total, active.note = done, event.get("total") or 0, _note(event)
        if not self.console.is_terminal:
            now, ended = time.monotonic(), active.total and active.done >= active.total
            if ended or now - self._last_line >= _LINE_SECONDS:
                self._last_line = now
                self._say(self._line(active))

    def _finish(self, moment: float) -> None:
        """Note the seconds of the active phase."""
        if self._active is not None:
            stage, phase = self._active.phase
            self._stages[stage].phases[phase] = max(0.0, moment - self._active.started)

    def _fold(self) -> None:
        """Print the line of the active phase's stage, which is finished."""
        if self._active is not None and self._active.phase[0] and self.console.is_terminal:
            stage = self._active.phase[0]
            self._say(self._stages[stage].line(stage))

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=not self.console.is_terminal)

    def _now(self) -> float:
        return time.time() + self._ahead

    def _line(self, active: _Active) -> str:
        """The active phase as one line of text."""
        name = " ".join(active.phase).strip()
        count = f"{active.done:,}/{active.total:,}" if active.total else f"{active.done:,}"
        return "  ".join(filter(None, (f"{name}: {count}", self._left(active), active.note)))

    def _left(self, active: _Active) -> str:
        """Rate and time left of the active phase."""
        rate = active.rate(self._now())
        if not rate or (active.total and active.done >= active.total):
            return ""
        speed = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"
        return f"{speed}  {clock((active.total - active.done) / rate)} left" if active.total else speed

    def _render(self) -> RenderableType:
        """The lines below the finished stages; each fits the width."""
        active = self._active
        if active is None:
            return Text("")
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(width=max(8, min(40, self.console.width - 58)))
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        done, total = active.done, active.total
        bar = ProgressBar(total or None, done, pulse=not total, animation_time=time.monotonic())
        count = f"{done:,}/{total:,}" if total else f"{done:,}" if done else ""
        spent = self._now() - active.started
        left = self._left(active) or clock(spent)
        table.add_row(Text(" ".join(active.phase).strip(), style="bold"), bar, count, left)
        lines: list[RenderableType] = [table]
        if active.note:
            lines.append(Text(f"  {active.note}", style="dim", no_wrap=True, overflow="ellipsis"))
        if active.phase[0]:
            lines.append(Text(self._whole(active), no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _whole(self, active: _Active) -> str:
        """The line of the whole run: phases, time so far, and about the time to go."""
        now = self._now()
        line = f"run   {clock(now - (self._started or now))} so far"
        if active.phase not in self._plan:
            return line
        place = self._plan.index(active.phase)
        line += f"   phase {place + 1} of {len(self._plan)}"
        rest = list(self._rest(active, place, now))
        return f"{line}   about {clock(sum(rest))} to go" if rest else line

    def _rest(self, active: _Active, place: int, now: float) -> Iterator[float]:
        """Seconds of what is left of the active phase and of each later one, as earlier stages took for it.

        A phase that no earlier stage had takes the mean of all. Nothing before the first phase has ended.
        """
        taken = defaultdict(list)
        for stage in self._stages.values():
            for phase, seconds in stage.phases.items():
                taken[phase].append(seconds)
        if not taken:
            return
        mean = fmean(seconds for listed in taken.values() for seconds in listed)

        def usual(phase: str) -> float:
            return fmean(taken[phase]) if phase in taken else mean

        rate = active.rate(now)
        known = bool(rate and active.total)
        yield (active.total - active.done) / rate if known else max(0, usual(active.phase[1]) - now + active.started)
        yield from (usual(phase) for _, phase in self._plan[place + 1 :])


def clock(seconds: float) -> str:
    """`0:42`, `12:05` or `3:07:00`: minutes and seconds, with hours from the first on."""
    whole = round(max(0.0, seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _moment(event: Mapping[str, Any]) -> float:
    """When the event was (seconds of Unix time): by its own `time`, else now."""
    with suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(event["time"]).timestamp()
    return time.time()


def _note(event: Mapping[str, Any]) -> str:
    """The event's message and its figures, the important ones first."""
    metrics = event.get("metrics") or {}
    figures = [form.format(metrics[name]) for name, form in _FIGURES.items() if name in metrics][:_SHOWN]
    if not figures:
        figures = [f"{name} {value:.3g}" for name, value in sorted(metrics.items())[:_SHOWN]]
    return "  ".join(filter(None, (event.get("message") or "", *figures)))
