"""Steps of a search, as the tests of `process` write them down."""

from selfreward.contracts.rollouts import Match, Response

MORE = " ;"
"""What ends a step that is not the last."""


def said(*texts: str, finish: str = "stop") -> list[Response]:
    """Candidates with these texts."""
    return [Response(text=text, finish_reason=finish, tokens=2) for text in texts]


def beats(first: int, second: int) -> list[Match]:
    """The first wins in both orders."""
    return [Match(first=first, second=second, outcome=1), Match(first=second, second=first, outcome=-1)]


def first_shown(a: int, b: int) -> list[Match]:
    """A judge that always prefers what it reads first."""
    return [Match(first=a, second=b, outcome=1), Match(first=b, second=a, outcome=1)]
