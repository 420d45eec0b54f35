"""One whole run of the loop under faults, from its submission to its end, and what the auditor then finds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.loop.audit.audit import audit
from selfreward.loop.methods.checks import Violation
from selfreward.loop.record import ENDED
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from tests.harness.chaos.faults import Faults
from tests.harness.chaos.stack import ChaosStack

_TICK = 0.03


@dataclass(frozen=True)
class Outcome:
    """How a run ended: seconds from submission to end, the final state, and every violation found in its artifacts."""

    seconds: float
    state: str
    message: str
    violations: list[Violation]


def run_through(
    stack: ChaosStack,
    recipe: Recipe,
    run: str,
    faults: Faults,
    timeout: float,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Outcome:
    """Submit a run and hurt the stack until it has ended. `report` gets the run's record whenever it has changed.

    Raises TimeoutError when the run has not ended in time.
    """
    store = ArtifactStore(str(stack.local.folder / "artifacts"))
    _submit(stack, recipe, run)
    began = time.monotonic()
    shown: dict[str, Any] = {}
    while shown.get("state") not in ENDED:
        stack.supervise()
        now = time.monotonic()
        if now - began > timeout:
            raise TimeoutError(f"run {run} has not ended in {timeout:g} s; done: {faults.by_kind()}; record: {shown}")
        faults.step(run, shown.get("stage", ""), now)
        record = _record(store, run)
        if record != shown:
            shown = record
            report(record)
        time.sleep(_TICK)
    seconds = time.monotonic() - began
    stack.resume(everything=True)
    return Outcome(seconds, shown["state"], shown["message"], audit(store, run))


def _submit(stack: ChaosStack, recipe: Recipe, run: str) -> None:
    """Submitting again returns the run that is there, so it may be tried until an answer comes."""
    for attempt in range(60):
        stack.supervise()
        try:
            with OrchestratorClient(stack.local.urls["orchestrator" if attempt % 2 else "orchestrator-2"]) as client:
                client.start(recipe, run)
        except ServiceError as error:
            if error.status is not None and error.status < 500:
                raise
            time.sleep(1)
        else:
            return
    raise TimeoutError(f"run {run} could not be submitted")


def _record(store: ArtifactStore, run: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = store.read_json(f"runs/{run}/run.json")
    except FileNotFoundError:
        return {}
    return record
