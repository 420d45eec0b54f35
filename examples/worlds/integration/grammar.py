"""A strict grammar of answers: text in, a list of terms out, without evaluating any text.

    sum      = ["-"] term (("+" | "-") term)*
    term     = "C" | factor (["*" | "/"] factor)*
    factor   = number | "x" ["^" exponent] | ("sin" | "cos" | "exp" | "ln") "(" ["-"] [number] "x" ")" | "(" sum ")"
    exponent = ["-"] number | "(" ["-"] number ")"

A term has at most one function and one sum in parentheses, which holds neither a further sum nor C, and only a number
or x divides. `ln|x|` is `ln(x)`. So the derivative of a term has few terms of the form c x^n g(kx), which are
independent of each other: whether two expressions are equal is decided by comparing coefficients. Text, numbers and
exponents are bounded, and with them the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import sympy

X: Final = sympy.Symbol("x")
MOST_CHARACTERS: Final = 200
MOST_DIGITS: Final = 5
MOST_EXPONENT: Final = 20
FUNCTIONS: Final[dict[str, Any]] = {"sin": sympy.sin, "cos": sympy.cos, "exp": sympy.exp, "ln": sympy.log}

_TOKEN: Final = re.compile(r" *([0-9]+|sin|cos|exp|ln|[-+*/^()|xC])")


class NoExpression(ValueError):
    """The text is no expression of the grammar."""


@dataclass(frozen=True)
class Term:
    """A term of a sum: its text without a leading plus, and its value (a sympy expression); C has None."""

    text: str
    value: Any


def parse(text: str) -> list[Term]:
    """The terms of an expression in their order, with their signs. Raises NoExpression."""
    if len(text) > MOST_CHARACTERS:
        raise NoExpression(f"{len(text)} characters, of which at most {MOST_CHARACTERS} are read")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text, self.words, place = text, [], 0
        stripped = text.rstrip(" ")
        while place < len(stripped):
            match = _TOKEN.match(stripped, place)
            if match is None:
                raise NoExpression(f"unknown sign at {stripped[place : place + 10]!r}")
            self.words.append((match[1], match.start(1), match.end(1)))
            place = match.end()
        self.next = 0

    def whole(self) -> list[Term]:
        terms = self.sum(nested=False)
        if self.peek():
            raise NoExpression(f"{self.peek()!r} is too much")
        return terms

    def peek(self) -> str:
        return self.words[self.next][0] if self.next < len(self.words) else ""

    def take(self, wanted: str = "") -> str:
        word = self.peek()
        if not word or (wanted and word != wanted):
            raise NoExpression(f"{wanted or 'more'} was expected, found {word!r}")
        self.next += 1
        return word

    def sum(self, *, nested: bool) -> list[Term]:
        terms = []
        sign = self.take() if self.peek() == "-" else "+"
        while True:
            first = self.next
            value = self.term(nested=nested)
            text = self.text[self.words[first][1] : self.words[self.next - 1][2]]
            negative = sign == "-"
            if value is None and negative:
                raise NoExpression("C is added")
            terms.append(Term(f"-{text}" if negative else text, -value if negative else value))
            if self.peek() not in ("+", "-"):
                return terms
            sign = self.take()

    def term(self, *, nested: bool) -> Any:
        """The value of a term, None for C."""
        if self.peek() == "C" and not nested:
            self.take()
            return None
        value, functions, sums, operation = sympy.Integer(1), 0, 0, "*"
        while True:
            word = self.peek()
            functions += word in FUNCTIONS
            sums += word == "("
            if functions > 1 or sums > 1 or (nested and sums):
                raise NoExpression("a term has at most one function and one sum")
            if operation == "/" and not (word == "x" or word.isdecimal()):
                raise NoExpression("only a number or x divides")
            factor = self.factor()
            if operation == "/" and factor == 0:
                raise NoExpression("0 divides nothing")
            value = value / factor if operation == "/" else value * factor
            operation = self.take() if self.peek() in ("*", "/") else "*"
            previous = self.words[self.next - 1][0]
            ended = self.peek() in ("", "+", "-", ")", "|", "^", "C") and previous not in ("*", "/")
            if ended:
                return value

    def factor(self) -> Any:
        word = self.take()
        if word == "x":
            return X ** self.exponent() if self.peek() == "^" else X
        if word.isdecimal():
            return sympy.Integer(_number(word))
        if word == "(":
            inner = self.sum(nested=True)
            self.take(")")
            return sympy.Add(*(term.value for term in inner))
        if word in FUNCTIONS:
            close = "|" if word == "ln" and self.peek() == "|" else ")"
            self.take("|" if close == "|" else "(")
            sign = -1 if self.peek() == "-" and self.take() else 1
            scale = _number(self.take()) if self.peek().isdecimal() else 1
            self.take("x")
            self.take(close)
            if scale == 0:
                raise NoExpression("0x is no argument")
            return FUNCTIONS[word](sign * scale * X)
        raise NoExpression(f"{word!r} begins no factor")

    def exponent(self) -> int:
        self.take("^")
        parenthesis = self.peek() == "(" and self.take()
        sign = -1 if self.peek() == "-" and self.take() else 1
        value = _number(self.take())
        if parenthesis:
            self.take(")")
        if value > MOST_EXPONENT:
            raise NoExpression(f"exponent {value} is above {MOST_EXPONENT}")
        return sign * value


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > MOST_DIGITS:
        raise NoExpression(f"{word[:9]!r} is no number of at most {MOST_DIGITS} digits")
    return int(word)
