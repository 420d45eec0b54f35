"""The judge's text as a reader sees it: one form for signs that look alike, and blanks in place of markup.

A view keeps for each of its characters the index in the judge's text, so that what is read in the view can be found in
the text. Superscripts, circled digits and look-alike letters of other alphabets stay as they are: they are no verdicts.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_FORMS = ("<wide>", "<narrow>", "<font>", "<small>", "<vertical>")
"""Compatibility decompositions that only show the same character in another shape."""
_SAME = str.maketrans(
    {
        **dict.fromkeys("∶꞉ː׃։", ":"),
        **dict.fromkeys("−﹣‐‑", "-"),
        **dict.fromkeys("⁄∕", "/"),
        **dict.fromkeys("“”„«»「」『』", '"'),
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("【〔", "["),
        **dict.fromkeys("】〕", "]"),
        **dict.fromkeys("。｡", "."),
        **dict.fromkeys("、،", ","),
        **dict.fromkeys("≻›", ">"),
        **dict.fromkeys("≺‹", "<"),
        **dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"),
        "≫": ">>",
        "≪": "<<",
        "…": "...",
        "\t": " ",
    }
)
_PLAIN = re.compile(r"[ -~\n]*+")
_PIECES = re.compile(r"(?P<plain>[ -~\n]++)|.", re.DOTALL)

_THINKING = (
    r"(?:(?:\w+[:_])?think(?:ing)?(?:_\w+)?|antthinking|thoughts?|thought_process|reason|reasoning|rationale|reflection"
    r"|scratchpad|analysis|inner_monologue|chain_of_thought|cot)"
)
_MARK = r"(?:think|thinking|thought|reasoning)"
_BLOCKS = re.compile(
    rf"(?=[<\[◁])(?:(?P<closes><\s*/\s*{_THINKING}\s*>|<\|(?:/|end_(?:of_)?){_MARK}\|>|<\|{_MARK}_end\|>|\[/THINK\]"
    rf"|◁/think▷|<\|channel\|>\s*final\b|<channel\|>)|<\s*{_THINKING}(?:\s[^<>\n]{{0,200}})?>"
    rf"|<\|(?:begin_of_|start_)?{_MARK}(?:_start)?\|>|\[THINK\]|◁think▷|<\|channel\|>\s*(?:analysis|commentary)\b"
    r"|<\|channel>thought)",
    re.IGNORECASE,
)
"""Tags of reasoning blocks: of most models, with attributes or none, of Magistral, Kimi, Cohere, gpt-oss and Gemma."""

_TAGS = "answer|verdict|output|result|b|i|u|em|strong|code|mark|span|p|div|br|font|big|small|center|h[1-6]"
_HTML = rf"</?(?:{_TAGS})\b[^<>\n]{{0,80}}>"
_SPECIAL = r"<\|[^|<>\n]{1,40}\|>|</?(?:s|eos|pad|end_of_turn)>"
_MARKUP = re.compile(
    rf"(?=[<*`_\\$])(?:{_HTML}|{_SPECIAL}|\*+|`+|(?<![^\W_])_+|_+(?![^\W_])|\\[()\[\]]|\$)", re.IGNORECASE
)
_MARKUP_SIGN = re.compile(r"[*`_<\\$]")
_FENCE = re.compile(r"^[ ]*`{3,}[\w-]*[ ]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(?<!\w)<([^\s<>][^<>\n]{0,60})>")
"""`<total points>` as a template has it, perhaps filled."""
_MOST_NESTED = 2
_LATEX = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathbf|mathrm|bm)[ ]*\{([^{}\n]*)\}")


@dataclass(frozen=True, slots=True)
class View:
    """`text` is to be read, with blanks in place of markup, `marked` is the same with the markup. Both are as long."""

    text: str
    marked: str
    _origin: list[int] | None

    def index(self, place: int) -> int:
        """The index in the judge's text of the character at `place`; for the view's end the end of the text."""
        return place if self._origin is None else self._origin[place]


def view_of(text: str) -> View:
    """The view of a text, in linear time."""
    if _PLAIN.fullmatch(text):
        return View(_blank_markup(text), text, None)
    pieces: list[str] = []
    origin: list[int] = []
    for piece in _PIECES.finditer(text):
        start, end = piece.span()
        plain = piece["plain"] is not None
        seen = piece[0] if plain else _see(piece[0])
        pieces.append(seen)
        origin += range(start, end) if plain else [start] * len(seen)
    marked = "".join(pieces)
    return View(_blank_markup(marked), marked, [*origin, len(text)])


def blank_reasoning(text: str) -> tuple[str, bool]:
    """The text with blanks in place of its reasoning blocks, and whether it ends inside of one.

    What stands before a closing tag without an opening one is reasoning too, because a chat template may have opened
    it. The result is as long as the text.
    """
    parts, place = [], 0
    opened: int | None = None
    for tag in _BLOCKS.finditer(text):
        if tag["closes"]:
            begin = place if opened is None else opened
            parts += [text[place:begin], " " * (tag.end() - begin - 1), "\n"]
            place, opened = tag.end(), None
        elif opened is None:
            opened = tag.start()
    end = len(text) if opened is None else opened
    return "".join([*parts, text[place:end], " " * (len(text) - end)]), opened is not None


@lru_cache(maxsize=8192)
def _see(character: str) -> str:
    if (same := character.translate(_SAME)) != character:
        return same
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs"):
        return character if character == "\n" else ""
    if category == "Zs":
        return " "
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if unicodedata.decomposition(character).startswith(_FORMS):
        return unicodedata.normalize("NFKC", character).translate(_SAME)
    return character


def _blank_markup(text: str) -> str:
    # Most texts have none of these signs, and looking for one is quick.
    if _MARKUP_SIGN.search(text) is None:
        return text
    text = _FENCE.sub(lambda fence: " " * len(fence[0]), text)
    for _ in range(_MOST_NESTED if "\\" in text else 0):
        text = _LATEX.sub(_inside, text)
    text = _MARKUP.sub(lambda markup: " " * len(markup[0]), text)
    return _PLACEHOLDER.sub(r"[\1]", text)


def _inside(command: re.Match[str]) -> str:
    return f"{' ' * (command.start(1) - command.start())}{command[1]} "
