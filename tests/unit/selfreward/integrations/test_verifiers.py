"""The plugin of verifiers v1 as verifiers finds and calls it, against a judge that listens.

The package pins what this project pins otherwise, so its classes are stand-ins with the fields that the plugin uses.
"""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel

from tests.support.judge_engine import Engine, by_length, content
from tests.support.listening import listening_judge

Parsed = TypeVar("Parsed")
Config = TypeVar("Config")
NAMES = ("verifiers", "verifiers.v1", "verifiers.v1.configs", "verifiers.v1.configs.judge", "verifiers.v1.judge")


class JudgeConfig(BaseModel):
    """The base of plugins' configurations."""

    id: str = ""
    name: str = ""
    weight: float = 1.0
    base_url: str = "https://api.pinference.ai/api/v1"
    api_key_var: str = "PRIME_API_KEY"


class JudgeResponse(BaseModel):
    """What a judge said, for the record."""

    text: str


class Judge(Generic[Parsed, Config]):
    """The base of plugins."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def reward_name(self) -> str:
        """The reward's key."""
        return str(self.config.name or self.config.id)


class Turn(BaseModel):
    """A message of a rollout."""

    role: str
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class Trace(SimpleNamespace):
    """A rollout."""

    def record_judge(self, response: JudgeResponse) -> None:
        """Keep what the judge said."""
        self.judged = response.text

    def record_metric(self, name: str, value: float) -> None:
        """Keep a metric."""
        self.metrics = {name: value}


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that verifiers imports for `id = "selfreward-judge"`."""
    modules = {name: ModuleType(name) for name in NAMES}
    modules["verifiers.v1.configs.judge"].JudgeConfig = JudgeConfig  # type: ignore[attr-defined]
    for name, value in (("Judge", Judge), ("JudgeResponse", JudgeResponse)):
        setattr(modules["verifiers.v1.judge"], name, value)
    modules["verifiers.v1.judge"].JudgeView = Literal["last_reply", "full_trace"]  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield importlib.import_module("selfreward-judge".replace("-", "_"))
    sys.modules.pop("selfreward_judge")


def trace_of(*turns: Turn) -> Trace:
    own = [turn for turn in turns if turn.role == "assistant"]
    return Trace(branches=[SimpleNamespace(messages=list(turns))], assistant_messages=own)


CALL = {"id": "c", "name": "add", "arguments": "{}"}
TURNS = (
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="p"),
    Turn(role="assistant", reasoning_content="hm", tool_calls=[CALL]),
    Turn(role="tool", content="33", tool_call_id="c"),
    Turn(role="assistant", content="xxx"),
)


def test_verifiers_finds_one_judge_and_scores_with_it(plugin: ModuleType) -> None:
    judges = [getattr(plugin, name) for name in plugin.__all__ if issubclass(getattr(plugin, name), Judge)]
    assert judges == [plugin.SelfrewardJudge]
    engine, task = Engine(by_length), SimpleNamespace(question="q", answer=["42"])

    async def scenario(url: str) -> None:
        config = plugin.SelfrewardJudgeConfig(base_url=url, rubric="countdown", votes=2, view="last_reply")
        trace = trace_of(*TURNS)
        assert await plugin.SelfrewardJudge(config).score(task, trace) == 3
        assert (trace.judged, trace.metrics) == ("Score: 3", {"selfreward-judge/valid_votes": 2})

        asked = config.model_copy(update={"question_field": "question"})
        with pytest.raises(ValueError, match="the judge gave no score: 0 of 2 votes valid"):
            await plugin.SelfrewardJudge(asked).score(task, trace_of(Turn(role="assistant", reasoning_content="hm")))

    with listening_judge(engine) as url:
        asyncio.run(scenario(url))
    assert content(engine.bodies[0]).endswith("Answer : xxx")


def test_the_whole_trace_is_judged_with_its_tools(plugin: ModuleType) -> None:
    rollout_item = plugin.rollout_item
    task = SimpleNamespace(question="q", answer=["4", "2"])

    item = rollout_item(plugin.SelfrewardJudgeConfig(answer_field="answer"), task, trace_of(*TURNS))

    assert [(turn.role, turn.content) for turn in item.prompt] == [("system", "Be brief."), ("user", "p")]
    assert [(turn.role, turn.content) for turn in item.response] == [
        ("assistant", "Tool call: add({})"),
        ("tool", "add: 33"),
        ("assistant", "xxx"),
    ]
    assert item.reference == "4\n2"
    with pytest.raises(ValueError, match="answer_field = 'gold': the task has no such field"):
        rollout_item(plugin.SelfrewardJudgeConfig(answer_field="gold"), task, trace_of(*TURNS))
