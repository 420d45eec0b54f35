"""Items of a trainer's samples. A sample that cannot be judged costs a reward, and never the training."""

import logging
from functools import lru_cache

from selfreward.contracts.conversations import NotText, conversation
from selfreward.contracts.judging import JudgeItem

_log = logging.getLogger(__name__)


def sample_item(prompt: object, response: object, names: tuple[str, str], reference: str | None = None) -> JudgeItem:
    """The item of one sample. `names` are the trainer's names of prompt and response, for messages.

    Where one of them is not text (an image, audio), the item has nothing to judge, so that it gets no score; a warning
    names the part, once for each kind of sample.
    """
    try:
        return JudgeItem(
            prompt=conversation(prompt, names[0]), response=conversation(response, names[1]), reference=reference
        )
    except NotText as error:
        _warn_once(f"no score for samples with {error}")
        return JudgeItem(prompt=[], response=[], reference=reference)


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    _log.warning(message)
