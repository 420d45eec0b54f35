"""What may stand around a verdict on its line: quotes and brackets, a final mark, and an explanation after a mark.

`Winner: A, because it is shorter` is a verdict, `Winner: A close call` and `Score: 4 or 5` are none.
"""

import re

OPEN = r"(?P<open>[ \"'(\[{]*+)"
CLOSE = r"(?:[ ]*[\"')\]}])*+"
"""Quotes and brackets before and after a verdict. What is open must be closed; a bracket may begin before the label."""
_END = re.compile(r"[ ]*[.!?,;:]*[ \"')\]}]*(?:[⭐★☆🌟✨✅✓✔][\ufe0f ]*)*[.!]?[ ]*")
_EXPLAINS = re.compile(
    r"(?:[ ]*[.,;:!]+(?![0-9A-Za-z])|[ ]+-+[ ]+|[ ]*[–—]+|[ ]*(?=\()|[ ]+(?=(?:because|since|as|given)\b))"
    r"[ ]*(?P<prose>\S.*)",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"\W*(?:or|and|no(?=\W*(?:$|[^\w\s\"'*]))|nor|vs|versus|maybe|perhaps|possibly|probably|wait|actually|rather|hm+)\b"
    r"|\W*(?:if|unless|then|sorry|up to)\b"
    r"|.*\b(?:provisional|tentative|preliminary|initial|so far|for now|on second thought|on reflection|correction)\b"
    r"|.*\b(?:wait|make that|scratch that|change (?:it|that|this) to)\b",
    re.IGNORECASE,
)


def closes(opened: str, after: str) -> bool:
    """Whether every bracket of `opened` is closed in what stands `after` them."""
    return all(opened.count(left) <= after.count(right) for left, right in ("()", "[]", "{}"))


def explanation(rest: str, bare: bool = False) -> str | None:
    """The explanation that follows a verdict on its line, empty if there is none.

    None where what follows is not allowed: another word directly after the verdict, or words that take it back. With
    `bare` no explanation is allowed.
    """
    if _END.fullmatch(rest):
        return ""
    explains = None if bare else _EXPLAINS.match(rest)
    if explains is None or _TAKES_BACK.match(explains["prose"]):
        return None
    return explains["prose"]
