"""Errors that end a run early."""


class RunStopped(RuntimeError):
    """The run was asked to stop."""


class RunFailed(RuntimeError):
    """The run cannot continue. The message says why, and what to do."""
