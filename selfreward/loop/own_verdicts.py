"""The part of an answer that the judge sees, and the reward of its score (2505.08827), as pure functions."""

import re

_REASONING_END = re.compile(r"</(?:think|thinking|reasoning|scratchpad)\s*>", re.IGNORECASE)
_REASONING_START = re.compile(r"<(?:think|thinking|reasoning|scratchpad)\b[^<>]*>", re.IGNORECASE)
# A tag is a name with or without attributes. `a <b, c> d` is arithmetic.
_TAG = re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>|<\|[^<>]*\|>")


def final_answer(text: str, answer_format: str) -> str | None:
    """The answer that the judge sees, without reasoning and tags; None if it does not match `answer_format`.

    Everything up to the last end of reasoning is removed; reasoning that does not end is no answer. Tags are removed
    because policies that are trained on verdicts have put tags with instructions into their answers.
    """
    answer = _REASONING_END.split(text)[-1]
    if _REASONING_START.search(answer):
        return None
    answer = _TAG.sub("", answer).strip()
    match = re.fullmatch(answer_format, answer)
    if match is None:
        return None
    final = match["answer"] if "answer" in match.re.groupindex else answer
    return final.strip() or None if final is not None else None


def reward(score: float | None, correct_from: float) -> int:
    """1 for a score of at least `correct_from`, else 0. A verdict that cannot be read gives 0, as in the paper."""
    return int(score is not None and score >= correct_from)
