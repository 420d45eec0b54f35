"""OpenRLHF's contract of a remote reward model: `POST /get_reward`, as `openrlhf/utils/agent.py` sends and reads it.

A query is the prompt with the response, decoded with special tokens. The response is what follows the prompt, without
its end-of-turn tokens. `rewards` are on the rubric's scale; `scores`, by which OpenRLHF filters, are shares of it.
"""

import re
import unicodedata
from typing import Annotated, NamedTuple

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, JsonValue

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem
from services.judge.api.shared import (
    MOST_ITEMS,
    JudgeQuery,
    as_reference,
    json_answer,
    judge_request,
    normalise,
    scores,
)
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

CONTRACT = "openrlhf"
_ANCHOR_LENGTH = 24
# Tokens that mark beginnings, ends and turns: `<|im_end|>`, DeepSeek's `<｜end▁of▁sentence｜>`, `</s>`, `<bos>`.
_SPECIAL = r"(?:<[|｜][^|｜<>\s]{1,64}[|｜]>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>)"
_END_TOKENS = re.compile(rf"(?:\s*{_SPECIAL})+\s*\Z")
_MARKS = "".join(filter(unicodedata.combining, map(chr, range(0x300, 0x1F000))))
# Between tokens and white space: ASCII characters, and any other character with its combining marks.
_COMPARED = re.compile(
    rf"{_SPECIAL}|\ufffd|\s+|(?P<plain>[!-;=-~]+(?![{_MARKS}]))|(?P<cluster>.[{_MARKS}]*)", re.DOTALL
)


class RewardRequest(Contract):
    """OpenRLHF's body: three lists of equal length. A non-empty label is the reference."""

    query: list[str] = Field(min_length=1, max_length=MOST_ITEMS)
    prompts: list[str] = Field(min_length=1, max_length=MOST_ITEMS)
    labels: list[JsonValue] | None = None


class RewardResponse(Contract):
    """One reward and one score for each query, in order. `extra_logs` belongs to the contract and is empty."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, float] = {}


class _Compared(NamedTuple):
    """What counts of a text, and for each of its characters the position after it in the text itself."""

    text: str
    ends: list[int]


def response_in(query: str, prompt: str) -> str | None:
    """The text after the prompt in a query; None when the query does not begin with the prompt.

    OpenRLHF decodes a query from tokens, so it may differ from the prompt in special tokens (a BOS), in white space and
    in Unicode normalisation. It cuts the start of a prompt that is too long, but only in the query: then the query
    begins with the end of `prompt`. A common part of fewer than `_ANCHOR_LENGTH` characters does not count, because it
    could be chance.
    """
    if query.startswith(prompt):
        return _END_TOKENS.sub("", query[len(prompt) :])
    asked, seen = _compared(prompt), _compared(query)
    length = len(asked.text) if seen.text.startswith(asked.text) else _common_length(asked.text, seen.text)
    if length is None:
        return None
    response = query[seen.ends[length - 1] if length else 0 :]
    # Tokens and white space are not compared, so those which end the prompt are left before the response.
    return _END_TOKENS.sub("", response.removeprefix(prompt[asked.ends[-1] if asked.ends else 0 :]))


def _compared(text: str) -> _Compared:
    pieces, ends = [], list[int]()
    for match in _COMPARED.finditer(text):
        if match["plain"]:
            pieces.append(match["plain"])
            ends += range(match.start() + 1, match.end() + 1)
        elif match["cluster"]:
            pieces.append("".join(unicodedata.normalize("NFKD", match["cluster"]).split()))
            ends += [match.end()] * len(pieces[-1])
    return _Compared("".join(pieces), ends)


def _common_length(prompt: str, query: str) -> int | None:
    """How many characters of the prompt's end the query begins with; None where it is no such query."""
    anchor = query[:_ANCHOR_LENGTH]
    start = prompt.find(anchor, 1) if len(anchor) == _ANCHOR_LENGTH else -1
    while start >= 0:
        if query.startswith(prompt[start:]):
            return len(prompt) - start
        start = prompt.find(anchor, start + 1)
    return None


def reward_items(body: RewardRequest) -> list[JudgeItem]:
    """The items to judge. Raises ApiError (422) when the lists do not fit together."""
    labels = body.labels or [None] * len(body.query)
    for name, values in (("prompts", body.prompts), ("labels", labels)):
        if len(values) != len(body.query):
            message = f"{name} has {len(values)} entries and query has {len(body.query)}: send one for each"
            raise invalid_fields([(name, message)])
    items = []
    for index, (query, prompt, label) in enumerate(zip(body.query, body.prompts, labels, strict=True)):
        response = response_in(query, prompt)
        if response is None:
            path = f"query.{index}"
            message = (
                f"{path} does not begin with prompts.{index}: send the prompt as the model saw it, chat template too"
            )
            raise invalid_fields([(path, message)])
        items.append(JudgeItem(prompt=prompt, response=response, reference=as_reference(label)))
    return items


def add_openrlhf(app: FastAPI, service: JudgeService) -> None:
    """Add `/get_reward`."""

    @app.post("/get_reward", response_model=RewardResponse, tags=[CONTRACT])
    async def get_reward(request: Request, body: RewardRequest, query: Annotated[JudgeQuery, Query()]) -> Response:
        """Reward each response. This is the contract of OpenRLHF's `--reward.remote_url`."""
        judged = await service.judge(request, judge_request(service, query, reward_items(body)), contract=CONTRACT)
        rewards = scores(judged.data, "query")
        rubric = service.rubric(judged.rubric)
        shares = [normalise(reward, rubric) for reward in rewards]
        return json_answer(RewardResponse(rewards=rewards, scores=shares).model_dump(), judged)
