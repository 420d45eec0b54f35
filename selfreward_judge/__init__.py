"""verifiers v1 and prime-rl: the judge as the judge plugin `selfreward-judge`, by configuration alone:

    [[env.taskset.task.judges]]
    id = "selfreward-judge"
    rubric = "additive5"
    weight = 0.2

verifiers finds a plugin by the name of a top-level package, so this is none of `selfreward.integrations`. Importing it
loads verifiers.
"""

import os
from typing import Any

from verifiers.v1.configs.judge import JudgeConfig
from verifiers.v1.judge import Judge, JudgeResponse, JudgeView

from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.conversations import conversation
from selfreward.contracts.judging import JudgeItem
from selfreward.integrations.explanation import explanation


class SelfrewardJudgeConfig(JudgeConfig):  # type: ignore[misc]
    """An entry of `judges`. The reward is in the rubric's points; `weight` scales it.

    Without a `base_url` the judge is that of `SELFREWARD_JUDGE_URL` and `SELFREWARD_API_KEY`. `question_field` and
    `answer_field` name fields of the task: the prompt, where that is not the task's own, and the reference answer of a
    rubric that compares with one. `view` is `full_trace`, all that the model and its tools wrote, or `last_reply`.
    """

    id: str = "selfreward-judge"
    base_url: str = ""
    api_key_var: str = "SELFREWARD_API_KEY"
    rubric: str = "additive5"
    votes: int = 3
    question_field: str = ""
    answer_field: str = ""
    view: JudgeView = "full_trace"


class SelfrewardJudge(Judge[float, SelfrewardJudgeConfig]):  # type: ignore[misc]
    """Scores a rollout. One without a score ends with an error, so that it is not trained on as if it had one."""

    async def score(self, task: Any, trace: Any) -> float:
        """The rollout's score in points. Raises ValueError where there is none, ServiceError when the judge fails."""
        config = self.config
        client = AsyncJudgeClient(config.base_url, os.environ.get(config.api_key_var)) if config.base_url else None
        async with client or AsyncJudgeClient() as judge:
            answer = await judge.judge([rollout_item(config, task, trace)], rubric=config.rubric, votes=config.votes)
        judgment = answer.data[0]
        trace.record_judge(JudgeResponse(text=explanation(judgment) or ""))
        trace.record_metric(f"{self.reward_name}/valid_votes", judgment.valid_votes)
        if judgment.score is None:
            raise ValueError(f"the judge gave no score: {judgment.failure_reason}")
        return judgment.score


def rollout_item(config: Any, task: Any, trace: Any) -> JudgeItem:
    """The item of a rollout: the turns before the model's first, and its turns with those of its tools.

    Raises ValueError for a field that the task has not, and for turns that are no text.
    """
    turns = trace.branches[-1].messages if trace.branches else []
    own = [id(message) for message in trace.assistant_messages]
    first = next((index for index, turn in enumerate(turns) if id(turn) in own), len(turns))
    prompt: object = turns[:first]
    if config.question_field:
        prompt = str(_field(task, config.question_field, "question_field"))
    reference = _field(task, config.answer_field, "answer_field") if config.answer_field else None
    if isinstance(reference, list | tuple):
        reference = "\n".join(map(str, reference))
    return JudgeItem(
        prompt=conversation(prompt, "prompt"),
        response=conversation(turns[-1:] if config.view == "last_reply" else turns[first:], "rollout"),
        reference=None if reference is None else str(reference),
    )


def _field(task: Any, name: str, key: str) -> Any:
    value = getattr(task, name, None)
    if value is None:
        raise ValueError(f"{key} = {name!r}: the task has no such field, name another")
    return value


__all__ = ["SelfrewardJudge", "SelfrewardJudgeConfig"]
