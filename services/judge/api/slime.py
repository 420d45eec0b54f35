"""slime's contract of a remote reward model: `POST /compat/slime`, as in `slime/rollout/rm_hub/__init__.py`.

slime takes the JSON of the answer as the reward. By default the answer is the bare number. With slime's `--reward-key
KEY`, add `?reward_key=KEY` to `--rm-url`; then the answer is an object with the number under that key.
"""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, JsonValue, RootModel

from selfreward.contracts.base import Contract
from selfreward.contracts.conversations import Conversation
from selfreward.contracts.judging import JudgeItem
from services.judge.api.shared import JudgeQuery, as_reference, json_answer, judge_request, scores
from services.judge.service import JudgeService

CONTRACT = "slime"


class SlimeRequest(Contract):
    """slime's body. A non-empty label is the reference."""

    prompt: Conversation
    response: Conversation
    label: JsonValue = None


class SlimeQuery(JudgeQuery):
    """Query parameters. With `reward_key` the answer is an object instead of the bare number."""

    reward_key: str | None = Field(default=None, min_length=1, max_length=128)


class SlimeReward(RootModel[float | dict[str, float]]):
    """The reward: a number, or an object with the number under `reward_key`."""


def add_slime(app: FastAPI, service: JudgeService) -> None:
    """Add `/compat/slime`."""

    @app.post("/compat/slime", response_model=SlimeReward, tags=[CONTRACT])
    async def slime(request: Request, body: SlimeRequest, query: Annotated[SlimeQuery, Query()]) -> Response:
        """Reward one response. This is the contract of slime's `--rm-type remote_rm`."""
        item = JudgeItem(prompt=body.prompt, response=body.response, reference=as_reference(body.label))
        judged = await service.judge(request, judge_request(service, query, [item]), contract=CONTRACT)
        (score,) = scores(judged.data, "response")
        reward = SlimeReward(score if query.reward_key is None else {query.reward_key: score})
        return json_answer(reward.model_dump(), judged)
