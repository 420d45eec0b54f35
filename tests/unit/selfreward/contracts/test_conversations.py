"""What is judged of a conversation, in the forms that clients, trainers and OpenAI's APIs send."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from selfreward.contracts.base import Message
from selfreward.contracts.conversations import NotText, conversation, nothing_to_judge
from selfreward.contracts.judging import JudgeItem

NULLS: dict[str, Any] = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "tool_calls", "name"))
CALL = {"id": "c1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 12, "b": 3}'}}
CALLED = 'Tool call: multiply({"a": 12, "b": 3})'


class ClientMessage(BaseModel):
    """As the `openai` package returns messages."""

    role: str
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


def said(*turns: Any) -> list[tuple[str, str]]:
    messages = conversation(list(turns))
    assert isinstance(messages, list)
    return [(message.role, message.content) for message in messages]


def assistant(content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (assistant("7 + 3", **NULLS), ("assistant", "7 + 3")),
        (Message(role="user", content="q"), ("user", "q")),
        (ClientMessage(role="assistant", tool_calls=[CALL]), ("assistant", CALLED)),
        ({"role": "developer", "content": "be brief"}, ("system", "be brief")),
        ({"role": "user", "content": "hi", "name": "Ada"}, ("user", "hi")),
        (assistant(""), ("assistant", "")),
        (assistant([{"type": "text", "text": "a"}, None, {"type": "text", "text": "b"}]), ("assistant", "a\nb")),
        (assistant([{"type": "output_text", "text": "a", "annotations": []}]), ("assistant", "a")),
        (assistant([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]), ("assistant", "a")),
        (assistant(reasoning_content="hm", content="a"), ("assistant", "a")),
        (assistant(refusal="I cannot."), ("assistant", "I cannot.")),
        (assistant([{"type": "refusal", "refusal": "I cannot."}]), ("assistant", "I cannot.")),
        (assistant(audio={"id": "x", "data": "UklG", "transcript": "Hello."}), ("assistant", "Hello.")),
        (assistant("Let me see.", tool_calls=[CALL]), ("assistant", f"Let me see.\n{CALLED}")),
        (assistant("", tool_calls=[CALL, CALL]), ("assistant", f"{CALLED}\n{CALLED}")),
        (assistant(tool_calls=[{"name": "now", "arguments": None}]), ("assistant", "Tool call: now()")),
        (
            assistant(tool_calls=[{"type": "custom", "custom": {"name": "sh", "input": "ls"}}]),
            ("assistant", "Tool call: sh(ls)"),
        ),
        (assistant(function_call={"name": "f", "arguments": "{}"}), ("assistant", "Tool call: f({})")),
        (
            assistant([{"type": "tool_use", "id": "t", "name": "f", "input": {"ü": 1}}]),
            ("assistant", 'Tool call: f({"ü": 1})'),
        ),
        ({"role": "tool", "name": "f", "content": "36"}, ("tool", "f: 36")),
        ({"role": "tool", "tool_call_id": "c9", "content": {"x": 1}}, ("tool", '{"x": 1}')),
        ({"role": "function", "name": "f", "content": [{"type": "text", "text": "36"}]}, ("tool", "f: 36")),
        ({"type": "message", "content": [{"type": "output_text", "text": "a"}]}, ("assistant", "a")),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, ("assistant", "Tool call: f({})")),
        ({"type": "function_call_output", "call_id": "c", "output": "36"}, ("tool", "36")),
    ],
)
def test_a_message(turn: Any, expected: tuple[str, str]) -> None:
    assert said(turn) == [expected]
    assert conversation(turn) == conversation([turn])


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [assistant(None, **NULLS)],
        [assistant([])],
        [assistant([{"type": "reasoning", "text": "hm"}])],
        [{"type": "reasoning", "summary": []}],
        [{"role": "tool", "content": None}],
    ],
)
def test_nothing_said_is_nothing_to_judge(value: Any) -> None:
    assert conversation(value) == []
    assert JudgeItem(prompt="p", response=value).response == []
    assert nothing_to_judge(prompt="p", response=[]) == "response: there is no text and no tool call to judge"
    assert nothing_to_judge(prompt="p", response="") is None


def test_a_tools_result_is_named_by_its_call() -> None:
    turns = [
        assistant(tool_calls=[CALL]),
        {"role": "tool", "tool_call_id": "c1", "content": "36"},
        assistant("It is 36."),
    ]

    assert said(*turns) == [("assistant", CALLED), ("tool", "multiply: 36"), ("assistant", "It is 36.")]


def test_an_array_as_parquet_gives_it() -> None:
    array = SimpleNamespace(tolist=lambda: [{"role": "user", "content": "q"}])

    assert conversation(array) == [Message(role="user", content="q")]


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (5, "", "= 5: give a text, or a list of messages with role and content"),
        (["hello"], "[0]", "= 'hello': give a message with role and content"),
        ([{"role": "boss", "content": "x"}], "[0].role", "use one of system, developer, user"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "[0].content[0]", "only text"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "[0].content[0]", "only text"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "[0].content[0]", "only text"),
        ([{"role": "user", "content": "see", "images": ["aGk="]}], "[0].images", "only text"),
        ([assistant(audio={"id": "x"})], "[0].audio", "only text"),
        ([{"type": "image_generation_call", "result": "aGk="}], "[0]", "only text"),
        ([{"role": "user", "content": 5}], "[0].content", "only text"),
        ([{"role": {}, "content": None}], "[0].role", "use one of system"),
        ([assistant(refusal=5)], "[0].refusal", "only text"),
        ([assistant(audio={"transcript": 5})], "[0].audio", "only text"),
        ([assistant(tool_calls=5)], "[0].tool_calls", "give a list of tool calls"),
        ([assistant(tool_calls=[{"type": "function"}])], "[0].tool_calls[0]", "with the name of its function"),
    ],
)
def test_what_is_no_text_is_named(value: Any, path: str, words: str) -> None:
    with pytest.raises(NotText) as caught:
        conversation(value, "prompts")
    assert str(caught.value).startswith(f"prompts{path} = ")
    assert words in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        JudgeItem(prompt=value, response="r")
    assert refused.value.errors()[0]["loc"] == ("prompt", *caught.value.path)
