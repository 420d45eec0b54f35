"""What is done to a running stack, when, and to whom: drawn from a seed, so that a run of bad luck can be had again."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from tests.harness.chaos.stack import CUT_OFF, ChaosStack

ANY_TIME = "any time"
_CHEAP = ("orchestrator", "orchestrator-2", "judge", "trainer", "trainer-2", "redis")
_DEAR = ("generator", "engine", "engine-core")
"""Each costs a start of the engine, so these are hit less often, and only while the generator serves."""
AT_MOMENTS: Mapping[str, tuple[str, ...]] = {
    "mid-train": ("job", "trainer", "trainer-2"),
    "mid-publish": ("job",),
    "mid-swap": ("generator", "engine", "engine-core"),
}
_MOMENTS_REST = 6.0
_MOST_AT_A_MOMENT = 2


@dataclass(frozen=True)
class Fault:
    """One thing done: `kind` is kill, pause or cut; `seconds` how long a pause or a cut lasts."""

    kind: str
    target: str
    moment: str
    seconds: float = 0.0


@dataclass
class Faults:
    """Draws and commits faults until `kills` processes have been killed. Call `step` often.

    `every` bounds the seconds between two faults. Faults at a moment come when the moment begins: at most once in six
    seconds, and twice in a stage. Weights that cost the engine three times in a row are refused, as they should be.
    """

    stack: ChaosStack
    seed: int
    kills: int
    every: tuple[float, float] = (1.5, 4.5)
    done: list[Fault] = field(default_factory=list)
    _next: float = 0.0
    _moments_from: float = 0.0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._hit = Counter[tuple[str, str]]()
        self._there: dict[str, bool] = dict.fromkeys(AT_MOMENTS, False)

    @property
    def killed(self) -> int:
        """Processes killed so far."""
        return sum(fault.kind == "kill" for fault in self.done)

    def by_kind(self) -> dict[str, int]:
        """How often each fault was done: `kill judge`, `kill engine mid-swap`, ..."""
        named = (
            f"{fault.kind} {fault.target}" + ("" if fault.moment == ANY_TIME else f" {fault.moment}")
            for fault in self.done
        )
        return dict(sorted(Counter(named).items()))

    def step(self, run: str, stage: str, now: float) -> None:
        """Do what is due at `now` (`time.monotonic`) in a stage of a run."""
        if self.killed >= self.kills:
            return
        self._at_moments(run, stage, now)
        if self.killed < self.kills and now >= self._next:
            self._next = now + self._rng.uniform(*self.every)
            self._at_any_time()

    def _at_moments(self, run: str, stage: str, now: float) -> None:
        seen: dict[str, Callable[[], bool]] = {
            "mid-train": self.stack.training,
            "mid-publish": lambda: self.stack.publishing(run),
            "mid-swap": self.stack.swapping,
        }
        for moment, is_now in seen.items():
            before, self._there[moment] = self._there[moment], is_now()
            begins = self._there[moment] and not before
            if begins and now >= self._moments_from and self._hit[moment, stage] < _MOST_AT_A_MOMENT:
                self._moments_from = now + _MOMENTS_REST
                self._hit[moment, stage] += 1
                self._do(Fault("kill", self._rng.choice(AT_MOMENTS[moment]), moment))

    def _at_any_time(self) -> None:
        kind = self._rng.choices(("kill", "pause", "cut"), weights=(6, 2, 1))[0]
        seconds = round(self._rng.uniform(0.3, 5.0), 2)
        if kind == "cut":
            self._do(Fault("cut", self._rng.choice(CUT_OFF), ANY_TIME, seconds))
            return
        dear = self._rng.random() < 0.12
        target = self._rng.choice(_DEAR if dear else _CHEAP)
        if not dear or self.stack.serving():
            self._do(Fault(kind, target, ANY_TIME, seconds if kind == "pause" else 0.0))

    def _do(self, fault: Fault) -> None:
        if fault.kind == "cut":
            self.stack.proxies[fault.target].cut(fault.seconds)
        else:
            try:
                process = self.stack.victim(fault.target)
                if process is None:
                    return
                if fault.kind == "kill":
                    process.kill()
                else:
                    self.stack.pause(process, fault.seconds)
            except psutil.NoSuchProcess:
                return
        self.done.append(fault)
        if fault.target in _DEAR:
            # Another fault while the engine starts again would show little more.
            self._next = max(self._next, time.monotonic() + 2)
