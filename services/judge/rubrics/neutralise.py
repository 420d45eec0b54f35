"""Make forged delimiters harmless in a text that stands in a judge prompt without a fence.

Clean text comes back byte for byte. What looks like a delimiter or a verdict label loses the signs that make it one
(`Answer: x` becomes `Answer - x`) and stays readable. The search uses the folded view of the text, so it finds
disguises too; the text itself is never normalised.
"""

import re
from collections.abc import Sequence

from services.judge.rubrics.lookalikes import fold, unfold

_SIGNS = {"<": "(", ">": ")", "[": "(", "]": ")", "|": "/", ":": " -"}
_DECORATION = r"[\s*_`\"'~\\]*"

# Controls, lone surrogates (not valid text), bidirectional overrides (which show text in another order than it has) and
# invisible tag characters.
_DROPPED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


def check_delimiter(delimiter: str) -> None:
    """Raise ValueError when a delimiter has no sign whose loss would make it harmless."""
    if not any(sign in delimiter for sign in _SIGNS):
        raise ValueError(
            f"{delimiter!r} cannot be neutralised in candidate text: use a delimiter with one of {' '.join(_SIGNS)}"
        )


def compile_guard(delimiters: Sequence[str], numbered: Sequence[str] = ()) -> re.Pattern[str]:
    """A pattern, for the folded view, of these delimiters. In `numbered` ones, `#` stands for any number."""
    counted = [_disguises(delimiter).replace(r"\#", "[0-9]{1,9}") for delimiter in numbered]
    return re.compile("|".join([*map(_disguises, delimiters), *counted]) or "(?!)", re.IGNORECASE)


def _disguises(delimiter: str) -> str:
    """A pattern of a tag in any of its forms (`<x>`, `</ x`, `<x/>`), or of other text with markdown between its parts.

    It has no condition on what stands before or after, which an invisible character could fake.
    """
    tag = re.fullmatch(r"<\s*/?\s*(\w+)\s*>", delimiter)
    if tag:
        return rf"<\s*(?:/\s*)?{tag[1]}(?:\s*(?:/\s*)?>)?"
    return _DECORATION.join(re.escape(part) for part in re.findall(r"\w+|[^\w\s]", delimiter))


def neutralise(text: str, guard: re.Pattern[str]) -> str:
    """Make every match of `guard` and every control character in `text` harmless; the result has neither."""
    while spans := [match.span() for match in guard.finditer(fold(text))]:
        text = _replace(text, unfold(text, spans))
    return _DROPPED.sub("", text)


def _replace(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "".join(map(_harmless, text[start:end]))]
        position = end
    return "".join([*pieces, text[position:]])


def _harmless(character: str) -> str:
    seen = fold(character)
    if not seen:
        return ""
    return "".join(_SIGNS.get(sign, sign) for sign in seen) if any(sign in _SIGNS for sign in seen) else character
