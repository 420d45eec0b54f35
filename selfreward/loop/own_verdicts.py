"""What a judge may see of an answer, and what its score means as a reward (2505.08827), as pure functions."""

import re

_REASONING_END = re.compile(r"</(?:think|thinking|reasoning|scratchpad)\s*>", re.IGNORECASE)
_REASONING_START = re.compile(r"<(?:think|thinking|reasoning|scratchpad)\b[^<>]*>", re.IGNORECASE)
# A name, then attributes or nothing: `a <b, c> d` is arithmetic.
_TAG = re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>|<\|[^<>]*\|>")


def final_answer(text: str, answer_format: str) -> str | None:
    """What the judge sees of an answer: no reasoning, no tags; None where the rest does not match `answer_format`.

    Everything up to the last end of reasoning is left out, and reasoning that never ends is no answer. Policies that
    are trained on verdicts have been seen to put tags with instructions into their answers.
    """
    answer = _REASONING_END.split(text)[-1]
    if _REASONING_START.search(answer):
        return None
    answer = _TAG.sub("", answer).strip()
    match = re.fullmatch(answer_format, answer)
    if match is None:
        return None
    found = match["answer"] if "answer" in match.re.groupindex else answer
    return found.strip() or None if found is not None else None


def reward(score: float | None, correct_from: float) -> int:
    """1 for a score of `correct_from` or more, else 0; a verdict that cannot be read is 0, as the paper has it."""
    return int(score is not None and score >= correct_from)
