"""Verdicts in five steps, as Arena-Hard asks for them: `[[A>>B]]`, `[[A>B]]`, `[[A=B]]`, `[[B>A]]` or `[[B>>A]]`.

The last one counts wherever it stands, since a judge that answers the question itself first may mention the others.
"""

import re
from dataclasses import dataclass

from selfreward.contracts.comparisons import Side
from services.judge.reading.read import Found, as_grammar

_VERDICT = re.compile(r"\[\[\s*(?P<verdict>[AB]\s*(?:>>?|=|<<?)\s*[AB])\s*\]\]", re.IGNORECASE)
_MEANING: dict[str, tuple[Side, bool]] = {
    "A>>B": ("a", True),
    "A>B": ("a", False),
    "A=B": ("tie", False),
    "B>A": ("b", False),
    "B>>A": ("b", True),
    "B=A": ("tie", False),
    "A<B": ("b", False),
    "A<<B": ("b", True),
    "B<A": ("a", False),
    "B<<A": ("a", True),
}
_ASKED = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


@dataclass(frozen=True)
class FiveWayForm:
    """Who is better, and whether clearly. `label` stands before the verdict where a grammar writes it."""

    label: str

    def find(self, text: str) -> Found[tuple[Side, bool]]:
        """The last verdict in double brackets."""
        matches = list(_VERDICT.finditer(text))
        if not matches:
            return Found("unparsed", reason=f"none of {', '.join(f'[[{verdict}]]' for verdict in _ASKED)}")
        last = matches[-1]
        said = re.sub(r"\s", "", last["verdict"]).upper()
        if said not in _MEANING:
            return Found("unparsed", reason=f"{last[0]!r} compares a response with itself", labelled=True)
        return Found("ok", _MEANING[said], labelled=True, start=last.start("verdict"), end=last.end())

    @property
    def pattern(self) -> str:
        """The label and one of the five."""
        return f"{as_grammar(self.label)} ({'|'.join(as_grammar(f'[[{verdict}]]') for verdict in _ASKED)})"
