"""OpenRLHF's remote reward model: `POST /get_reward`, as `openrlhf/utils/agent.py` sends and reads it.

A query is prompt plus response, decoded with its special tokens; the response is what follows the prompt, without the
end-of-turn tokens. `rewards` are on the rubric's scale; `scores`, by which OpenRLHF filters, are shares of it.
"""

import json
import re
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, JsonValue

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem
from services.judge.api.shared import MOST_ITEMS, Choice, answer, judge_request, normalised, scores
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

CONTRACT = "openrlhf"
_ANCHOR = 32
_END_TOKENS = re.compile(r"(?:\s*(?:<\|[^|<>\s]{1,64}\|>|</s>|<(?:eos|pad|end_of_turn)>))+\s*\Z")


class RewardRequest(Contract):
    """OpenRLHF's body: three lists of equal length. A label that is not empty is the reference."""

    query: list[str] = Field(min_length=1, max_length=MOST_ITEMS)
    prompts: list[str] = Field(min_length=1, max_length=MOST_ITEMS)
    labels: list[JsonValue] | None = None


class RewardResponse(Contract):
    """One reward and one score for each query, in order. `extra_logs` is part of the contract, and empty."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, float] = {}


def response_in(query: str, prompt: str) -> str | None:
    """What follows the prompt in the query; None when the query does not begin with it.

    OpenRLHF cuts a prompt that is too long on the left in the query, but sends it whole in `prompts`: then the query
    begins with the prompt's end. An end of fewer than `_ANCHOR` characters could be chance and is not taken for it.
    """
    if query.startswith(prompt):
        return _END_TOKENS.sub("", query[len(prompt) :])
    anchor = query[:_ANCHOR]
    start = prompt.find(anchor, 1) if len(anchor) == _ANCHOR else -1
    while start >= 0:
        if query.startswith(prompt[start:]):
            return _END_TOKENS.sub("", query[len(prompt) - start :])
        start = prompt.find(anchor, start + 1)
    return None


def reward_items(body: RewardRequest) -> list[JudgeItem]:
    """The items to judge. Raises ApiError when the lists do not fit together."""
    labels = body.labels or [None] * len(body.query)
    for name, values in (("prompts", body.prompts), ("labels", labels)):
        if len(values) != len(body.query):
            wrong = f"{name} has {len(values)} entries and query has {len(body.query)}: send one for each"
            raise invalid_fields([(name, wrong)])
    items = []
    for index, (query, prompt, label) in enumerate(zip(body.query, body.prompts, labels, strict=True)):
        response = response_in(query, prompt)
        if response is None:
            path = f"query.{index}"
            wrong = (
                f"{path} does not begin with prompts.{index}: send the prompt as the model saw it, chat template too"
            )
            raise invalid_fields([(path, wrong)])
        items.append(JudgeItem(prompt=prompt, response=response, reference=as_reference(label)))
    return items


def as_reference(label: JsonValue) -> str | None:
    """A trainer's label as reference text; None when it has none, which some write as an empty string."""
    if label is None or label == "":
        return None
    return label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)


def add_openrlhf(app: FastAPI, service: JudgeService) -> None:
    """`/get_reward`."""

    @app.post("/get_reward", response_model=RewardResponse, tags=[CONTRACT])
    async def get_reward(request: Request, body: RewardRequest, choice: Annotated[Choice, Query()]) -> Response:
        """Reward each response; the contract of OpenRLHF's `--reward.remote_url`."""
        judged = await service.judge(request, judge_request(service, choice, reward_items(body)), contract=CONTRACT)
        rewards = scores(judged.data, "query")
        rubric = service.rubric(judged.rubric)
        shares = [normalised(reward, rubric) for reward in rewards]
        return answer(RewardResponse(rewards=rewards, scores=shares).model_dump(), judged)
