"""What an audit finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """Something that must not be.

    `kind`: journal, manifest, lineage, half-written, unreadable, accounting, policy, pairs, questions or samples.
    """

    kind: str
    artifact: str
    detail: str
