"""How a run ends before its time."""


class RunStopped(RuntimeError):
    """Somebody asked the run to stop."""


class RunFailed(RuntimeError):
    """The run cannot go on; the message says why and what to do."""
