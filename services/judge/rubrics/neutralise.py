"""Make foreign text harmless inside a judge prompt: it can neither close its section nor speak as a role.

Clean text comes back byte for byte. What looks like a delimiter, a verdict label or a chat role token loses the signs
that make it one (`</response>` becomes `(/response)`, `Score: 5` becomes `Score - 5`) and stays readable. The search
uses a folded view of the text, which ignores compatibility forms, look-alike letters, accents, case, invisible
characters and spacing, so it finds disguises too; the text itself is never normalised. There is no nonce: equal input
gives an equal prompt, which keeps judgments reproducible and prefix caches warm.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_SIGNS = {"<": "(", ">": ")", "[": "(", "]": ")", "|": "/", ":": " -"}
_DECORATION = r"[\s*_`\"'~\\]*"
_KEPT_CONTROLS = "\t\n\r"

# Controls, lone surrogates (not valid text), bidirectional overrides (which show text in another order than it has) and
# invisible tag characters.
_DROPPED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)

# Role tokens: `<|...|>` of most models, the bracketed ones of the Llama 2 and Mistral families, T5 and Gemma turns.
_ROLE_TOKENS = (
    r"<\s*\|[^|<>\n]{0,64}\|\s*>",
    r"<\s*<\s*(?:/\s*)?sys\s*>\s*>",
    r"<\s*(?:/\s*)?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|(?:start|end)_of_turn|extra_id_[0-9]+)\s*>",
    r"\[\s*(?:/\s*)?(?:inst|system_prompt|available_tools|tool_calls|tool_results|bos|eos|cls|sep|mask|pad)\s*\]",
)

# Look-alikes that Unicode's compatibility decomposition does not change, and what they look like.
_LOOKALIKES = str.maketrans(
    {
        **dict(zip("авеёкмнорстухіїѕјһԁԛԝӏ", "abeekmhopctyxiisjhdqwl", strict=True)),
        **dict(zip("αεικνορτυχ", "aeikvoptux", strict=True)),
        **dict.fromkeys("‹〈⟨❮ᐸ˂≺❬", "<"),
        **dict.fromkeys("›〉⟩❯ᐳ˃≻❭", ">"),
        **dict.fromkeys("꞉ː∶׃։܃܄˸", ":"),
        **dict.fromkeys("ǀ∣│❘¦┃", "|"),
        **dict.fromkeys("⁄∕⧸╱", "/"),
        **dict.fromkeys("ıɩ", "i"),
        **dict.fromkeys("\u115f\u1160\u2800", ""),
    }
)


def check_delimiter(delimiter: str) -> None:
    """Raise ValueError when a delimiter has no sign whose loss would make it harmless."""
    if not any(sign in delimiter for sign in _SIGNS):
        raise ValueError(
            f"{delimiter!r} cannot be neutralised in candidate text: use a delimiter with one of {' '.join(_SIGNS)}"
        )


def compile_guard(delimiters: Sequence[str], numbered: Sequence[str] = ()) -> re.Pattern[str]:
    """A pattern, for the folded view, of these delimiters and of all known role tokens.

    In `numbered` delimiters, `#` stands for any number.
    """
    counted = [_disguises(delimiter).replace(r"\#", "[0-9]{1,9}") for delimiter in numbered]
    return re.compile("|".join([*map(_disguises, delimiters), *counted, *_ROLE_TOKENS]), re.IGNORECASE)


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
    plain = text.isascii() and not _DROPPED.search(text)
    while True:
        folded, origin = (text, None) if plain else _fold_text(text)
        spans = [match.span() for match in guard.finditer(folded)]
        if not spans:
            return text if plain else _DROPPED.sub("", text)
        if origin is not None:
            spans = [(origin[start], origin[end - 1] + 1) for start, end in spans]
        text = _replace(text, spans)


def _replace(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "".join(map(_harmless, text[start:end]))]
        position = end
    return "".join([*pieces, text[position:]])


def _harmless(character: str) -> str:
    seen = _fold(character)
    if not seen:
        return ""
    return "".join(_SIGNS.get(sign, sign) for sign in seen) if any(sign in _SIGNS for sign in seen) else character


def _fold_text(text: str) -> tuple[str, list[int]]:
    """The folded view, and for each of its characters the index in `text` of the character it comes from."""
    folded, origin = [], []
    for index, character in enumerate(text):
        seen = _fold(character)
        folded.append(seen)
        origin += [index] * len(seen)
    return "".join(folded), origin


@lru_cache(maxsize=8192)
def _fold(character: str) -> str:
    """What a reader takes one character for: lower case without accents; empty when it is invisible."""
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _KEPT_CONTROLS:
        return ""
    seen = unicodedata.normalize("NFKD", character).casefold().translate(_LOOKALIKES)
    return "".join(part for part in seen if not unicodedata.category(part).startswith("M"))
