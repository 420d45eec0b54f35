"""Replicas killed as a small run comes to its phases, on whatever platform the services run."""

from collections.abc import Callable, Iterable, Iterator

PLAN = {
    ("SFT", "train"): ["trainer", "orchestrator"],
    ("M1", "rollouts"): ["generator", "judge"],
    ("M2", "rollouts"): ["orchestrator", "judge"],
    ("M2", "train"): ["trainer", "redis"],
    ("M2", "evaluate"): ["generator", "orchestrator"],
}
"""Which services lose a replica when the run comes to a phase."""

LOOK = """
import json, sys, time
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import method_of

told = 0
while True:
    try:
        run = json.load(open(sys.argv[1]))
    except FileNotFoundError:
        run = None
    if run is not None:
        recipe = RunRecipe.model_validate(run["recipe"])
        method = method_of(recipe)
        places = [(stage, phase) for stage in method.stages(recipe) for phase in method.phases(recipe, stage)]
        begun = len(run["journal"]) + 1
        for place in places[told:begun]:
            print(*place)
        told = begun
    time.sleep(0.05)
"""
"""A program that prints every phase of the run of a run.json as it begins: the one after those that are done."""


def places(printed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Stage and phase of each line that LOOK prints."""
    for line in printed:
        stage, _, phase = line.strip().partition(" ")
        yield stage, phase


def kill_at(begun: Iterator[tuple[str, str]], kill: Callable[[str], None], killed: list[str]) -> None:
    """Kill a replica of each service that PLAN names for a place, when the run comes there; `killed` says which."""
    for place in begun:
        for service in PLAN.get(place, []):
            kill(service)
            killed.append(_said(service, place))
            print(f"killed {killed[-1]}", flush=True)


def planned() -> list[str]:
    """What `kill_at` says once the whole plan is done."""
    return [_said(service, place) for place, services in PLAN.items() for service in services]


def planned_of(service: str) -> int:
    """How many replicas of a service the plan kills."""
    return sum(services.count(service) for services in PLAN.values())


def _said(service: str, place: tuple[str, str]) -> str:
    return f"{service} as {' '.join(place)} began"
