"""Why a replica does not serve what was announced: the weights are bad, or the engine is away."""

from typing import NamedTuple

from services.generator.engine.process import EngineFailed


class WeightsRefused(RuntimeError):
    """Announced weights that this replica will not serve. The message says why and what to do."""


class EngineRestarting(EngineFailed):
    """Nothing can be adopted before the lost engine is back; the wanted weights are not to blame."""


class Refusal(NamedTuple):
    """Why the weights with this manifest digest are not served."""

    digest: str
    reason: str
