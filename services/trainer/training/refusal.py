"""The one error that says: this job can never succeed as it was asked for, trying again is no help."""


class JobRefused(ValueError):
    """Bad input, found before training starts. The message names what is wrong, where, and the remedy."""
