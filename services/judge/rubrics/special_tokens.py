"""Special tokens: texts such as `<|im_end|>` that a tokenizer turns into a control token of the chat, wherever they
stand.

Only the exact text of a token does that, and only with the tokenizers that have it. So only what the engine's tokenizer
has is changed. Most text has other things: `x[mask]` and `Stack<S>` are code, and `<s>` is HTML.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SIGNS = str.maketrans("<>[]|｜", "()()//")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
_PLAIN = frozenset(_LISTS["plain"])
_NAMES = sorted([*_LISTS["telling"], *_LISTS["plain"]], key=len, reverse=True)
# Beside the listed ones, two shapes that hardly any other text has, whatever the name in them.
_SUSPECT = re.compile("|".join([*map(re.escape, _NAMES), r"<\|[^\s|<>]{1,64}\|>|<｜[^\s｜<>]{1,64}｜>"]))


def suspects(texts: Iterable[str]) -> set[str]:
    """All that is a special token of some tokenizer: what an engine can be asked for. No element has white space."""
    return {match for text in texts for match in _SUSPECT.findall(text)}


@dataclass(frozen=True)
class SpecialTokens:
    """The `present` special tokens of an engine's tokenizer, as far as they are `suspects`; None where it is unknown.

    Of an unknown engine all suspects count, except those that are also code or markup.
    """

    present: frozenset[str] | None

    def disarm(self, text: str) -> str:
        """The text with the signs of each token as plain ones: `<|im_end|>` becomes `(/im_end/)`.

        All other text stays byte for byte, except that lone surrogates, which no request can carry, become U+FFFD.
        """
        harmless = _SUSPECT.sub(lambda match: self._disarm_token(match[0]), text)
        return harmless if harmless.isascii() else _LONE_SURROGATE.sub("\ufffd", harmless)

    def _disarm_token(self, suspect: str) -> str:
        is_token = suspect not in _PLAIN if self.present is None else suspect in self.present
        return suspect.translate(_SIGNS) if is_token else suspect


UNKNOWN_ENGINE = SpecialTokens(None)
