"""The judge's own probabilities at the verdict's token: an expected score, or the probability that A wins.

The engine lists the likeliest tokens at each position. Where it lists none, or its tokens do not spell the text up to
the verdict, the result is None and never a made-up number.
"""

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

TOP_AT_SCORE = 20
"""Alternatives requested at a score: the most that OpenAI and vLLM allow by default, and enough for ten digits."""
TOP_AT_CHOICE = 5
"""Alternatives requested at a choice between a few letters."""


def word_probabilities(content: Sequence[Mapping[str, Any]] | None, text: str, start: int) -> dict[str, float]:
    """The probability of each word at the token of `text` that has character `start`. Empty when there are none.

    A word is letters and digits only: probabilities of spellings with other spaces or signs are added up. `content` is
    `choices[].logprobs.content` of a chat completion.
    """
    # Compare without spaces: some tokenizers drop the space before a word when they decode its token alone.
    before, begin = _spaceless(text.encode()), len(_spaceless(text[:start].encode()))
    place = 0
    for token in content or ():
        piece = _spaceless(_bytes(token))
        if before[place : place + len(piece)] != piece:
            return {}
        if begin < place + len(piece):
            return _words(token)
        place += len(piece)
    return {}


def expected_score(words: Mapping[str, float], minimum: float, maximum: float) -> float | None:
    """The mean of the whole scores within the scale, weighted by their probabilities; None when no score is listed."""
    digits = {int(word): p for word, p in words.items() if word.isascii() and word.isdecimal() and len(word) == 1}
    within = {digit: p for digit, p in digits.items() if minimum <= digit <= maximum}
    total = sum(within.values())
    return sum(digit * p for digit, p in within.items()) / total if total > 0 else None


def probability_of_a(words: Mapping[str, float]) -> float | None:
    """P(A) / (P(A) + P(B)), the normalised probability of A (Constitutional AI, 2212.08073).

    None when neither is listed.
    """
    a, b = (sum(p for word, p in words.items() if word in (side, side.upper())) for side in "ab")
    return a / (a + b) if a + b > 0 else None


def _bytes(token: Mapping[str, Any]) -> bytes:
    listed = token.get("bytes")
    return bytes(listed) if isinstance(listed, list) else str(token["token"]).encode(errors="replace")


def _spaceless(piece: bytes) -> bytes:
    return b"".join(piece.split())


def _words(token: Mapping[str, Any]) -> dict[str, float]:
    words: dict[str, float] = {}
    for other in token.get("top_logprobs") or ():
        word = "".join(sign for sign in str(other["token"]) if sign.isalnum())
        words[word] = words.get(word, 0.0) + exp(float(other["logprob"]))
    return words
