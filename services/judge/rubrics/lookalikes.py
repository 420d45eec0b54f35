"""What a reader takes a character for: look-alikes, compatibility forms, accents, case and invisible characters.

The look-alikes are those that Unicode's compatibility decomposition leaves alone. Most come from Unicode's table of
confusable characters (UTS #39, (c) Unicode, Inc., under the Unicode License V3).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

_LOOKALIKES = {
    "/": "᜵⁁⁄∕╱⟋⧸ⳇ〳ノ㇓丿𝈺",
    "2": "ƨϩᒿꙅꛯꝛ",
    "3": "ȝɜʒзӡⳍꝫ𑣊𖼻𝈆",
    "4": "Ꮞ𑣏",
    "5": "ƽ𑣛",
    "6": "бᏮⳓ𑣕",
    "7": "𐓺𑣆𝈒",
    "8": "ȣ৪੪\u0b03𐌚",
    "9": "৭੧୨൭ⳋꝯ𑣌𑣖",
    ":": "ː˸։\u05c3\u0703\u0704\u0903\u0a83፡፥᛬᠃᠉⁚⁝⁞∶ꓽ꞉︰",
    "<": "«˂˱ᐸ᚛ᚲ‹≺❬❮⟨⟪⧼〈《𝈶",
    ">": "»˃˲ᐳ᚜ᚳ›≻❭❯⟩⟫⧽〉》𖼿𝈷",
    "a": "ɑαаᎪᗅ⍺ꓮ𐊠𖽀",
    "b": "ƅβвьᏏᏴᑲᖯᗷꓐꞵ𐊂𐊡𐌁",
    "c": "σсᏟᴄⲥꓚ𐊢𐌂𐐽𐔜𑣩𑣲🝌",
    "d": "ԁᎠᏧᑯᗞᗪꓒꓓ",
    "e": "εеҽᎬ℮⋿ⴹꓰꬲ𐊆𑣎",
    "f": "ϝքᖴẝꓝꞙꬵ𐊇𐊥𐔥𑣂𝈓",
    "g": "ƍɡԍցᏀᏳᶃꓖ",
    "h": "ηнһհᎻᏂᕼⲏꓧ𐋏",
    "i": "ıɩɪͺιіᎥ⍳ꙇ𑣃",
    "j": "ʝϳјᎫᒍꓙ",
    "k": "κкᏦᛕⲕꓗ𐔘",
    "l": "ӏ۱Ꮮᒪᛁ⏽│ⲓⳑⵏꓡꓲ𐊊𐌉𐌠𐑃𐔦𑣒𖼖𖼨𝈪",
    "m": "μϻмᎷᗰᛖⲙꓟ𐊰𐌑",
    "n": "νոռⲛꓠ𐔓",
    "o": "οоօ۵०০੦૦ଠ୦௦\u0c02౦\u0c82೦\u0d02ഠ൦\u0d82๐໐ဝ၀ჿዐᎾᴏᴑⲟⵔ〇ꓳꬽ𐊒𐊫𐐬𐓪𐔖𑓐𑣈𑣗𑣠",
    "p": "ρрᏢᑭ⍴ⲣꓑ𐊕",
    "q": "ԛգզⵕ",
    "r": "ʀгᎡᎱᏒᖇᴦⲅꓣꭇꭈ𐓜𖼵𝈖",
    "s": "ѕտᏕᏚꓢꜱ𐊖𐑈𑣁𖼺",
    "t": "τтᎢ⊤⟙ⲧꓔ𐊗𐊱𐌕𑣜𖼊🝨",
    "u": "ʋυսሀᑌᴜ∪⋃ꓴꞟꭎꭒ𐓶𑣘𖽂",
    "v": "ѵ۷Ꮩᐯᴠ∨⋁ⴸꓦꛟ𐔝𑜆𑣀𖼈𝈍",
    "w": "ɯѡԝաᎳᏔᴡꓪ𑜊𑜎𑜏𑣦𑣯",
    "x": "×χхᕁᕽ᙭᙮ᚷ╳⤫⤬⨯ⲭⵝꓫꭓ𐊐𐊴𐌗𐌢𐔧𑣬",
    "y": "ɣʏγуүყᎩᎽᶌỿⲩꓬꭚ𐊲𑣄𖽃",
    "z": "ζᏃᴢꓜ𐋵𑣉𑣥",
    "|": "¦ǀǁ‖∣┃❘",
}
_PLAIN = str.maketrans({sign: plain for plain, signs in _LOOKALIKES.items() for sign in signs})
_NAMED = re.compile(r"LATIN (?:LETTER SMALL CAPITAL|(?:SMALL|CAPITAL) LETTER) ([A-Z])(?: WITH .*)?")
_KEPT_CONTROLS = "\t\n\r"
# Shown as nothing, though their category does not say so: Unicode's default-ignorable characters that are letters,
# symbols or not assigned.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\ufffc\U000e0000-\U000e0fff]"
)
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MOST_CACHED = 65_536


class _Folding(dict[int, str]):
    """The folded form of each character, by its code point; computed when it is first asked for."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        if len(self) < _MOST_CACHED:
            self[code] = folded
        return folded


_FOLDING = _Folding()


def fold(text: str) -> str:
    """The text as a reader takes it: lower case, without accents, look-alikes as what they look like.

    Invisible characters are gone, so its length may differ.
    """
    return text.lower() if text.isascii() and not _HIDDEN.search(text) else text.translate(_FOLDING)


def unfold(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where ascending, not empty `spans` of `fold(text)` stand in `text`."""
    starts = list(accumulate(map(len, map(_FOLDING.__getitem__, map(ord, text))), initial=0))
    return [(bisect_right(starts, start) - 1, bisect_right(starts, end - 1)) for start, end in spans]


def _fold(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _KEPT_CONTROLS:
        return ""
    if _BLANK.match(character):
        return ""
    seen = unicodedata.normalize("NFKD", character).casefold().translate(_PLAIN)
    seen = "".join(part for part in seen if not unicodedata.category(part).startswith("M"))
    if not seen.isascii() and (named := _NAMED.fullmatch(unicodedata.name(character, ""))):
        return named[1].lower()
    return seen
