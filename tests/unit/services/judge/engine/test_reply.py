"""Odd replies of engines, through the judge: each is a vote that says what is wrong, or the text in it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from selfreward.contracts.judging import Vote
from services.judge.engine.reply import read_reply
from services.judge.verdicts.logprobs import word_probabilities
from tests.support.judge_engine import Engine, body, compared, fours, judged, pairs, post

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
SURROGATE = '{"choices": [{"message": {"content": "\\ud83d \\ud83d\\ude00\\nScore: 4"}, "finish_reason": "stop"}]}'


def votes_on(content: str | bytes, **fields: Any) -> list[Vote]:
    """The votes on an answer whose engine gives this body."""
    result = judged(Engine(lambda _: Response(content)), body("a", **{"votes": 1, **fields}))
    return result.data[0].votes


def vote_on(message: Any, **choice: Any) -> Vote:
    """The vote that a choice with this message is."""
    (vote,) = votes_on(json.dumps({"choices": [{"message": message, "finish_reason": "stop", **choice}]}))
    return vote


@pytest.mark.parametrize(
    ("content", "score", "reasoning"),
    [
        ([THOUGHT, {"type": "text", "text": "Score: 4"}], 4, "hm"),
        ([{"type": "text", "text": "Fine."}, THOUGHT, {"type": "text", "text": "Score: 4"}], 4, "hm"),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Score: 4"}], 4, "hm"),
        ([{"type": "text", "text": "Score"}, {"type": "text", "text": ": 4"}], 4, None),
        (["Fine. ", "Score: 4"], 4, None),
        ({"type": "text", "text": "Score: 4"}, 4, None),
        ([{"type": "thinking", "thinking": "Score: 4"}], None, "Score: 4"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}], None, None),
        ([None, 7, []], None, None),
        ([], None, None),
        (None, None, None),
        (4, None, None),
    ],
)  # fmt: skip
def test_content_is_read_in_every_form(content: Any, score: float | None, reasoning: str | None) -> None:
    vote = vote_on({"role": "assistant", "content": content})

    assert (vote.score, vote.reasoning_content) == (score, reasoning)
    assert vote.status == ("ok" if score else "unparsed")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_beside_the_text_is_kept(field: str) -> None:
    assert vote_on({"content": "Score: 4", field: "hm"}).reasoning_content == "hm"
    assert vote_on({"content": "Score: 4", field: [{"type": "text", "text": "hm"}]}).reasoning_content == "hm"
    assert vote_on({"content": "Score: 4", field: None}).reasoning_content is None


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        ("content_filter", "refused"),
        ("sensitive", "refused"),
        ("SAFETY", "refused"),
        ("network_error", "error"),
        ("insufficient_system_resource", "error"),
        ("model_length", "truncated"),
        ("eos_token", "ok"),
        (None, "ok"),
        (3, "ok"),
    ],
)
def test_finish_reasons_mean_what_they_say_in_any_words(finish: Any, status: str) -> None:
    assert vote_on({"content": "Score: 4"}, finish_reason=finish).status == status


def test_refusals_are_refused() -> None:
    assert vote_on({"content": None, "refusal": "no"}).status == "refused"
    assert vote_on({"content": [{"type": "refusal", "refusal": "no"}]}).text == "no"


def test_lone_surrogates_do_not_end_a_batch() -> None:
    (vote,) = votes_on(SURROGATE)

    assert (vote.score, vote.text) == (4, "\ufffd \U0001f600\nScore: 4")


@pytest.mark.parametrize(
    "choice",
    [None, 7, "Score: 4", [], {}, {"message": None}, {"message": []}, {"text": "Score: 4"}, {"error": "overloaded"}],
)  # fmt: skip
def test_a_choice_without_a_message_is_one_vote_of_status_error(choice: Any) -> None:
    good = {"message": {"content": "Score: 4"}, "finish_reason": "stop"}

    bad_vote, good_vote = votes_on(json.dumps({"choices": [choice, good]}), votes=2)

    assert (bad_vote.status, good_vote.score) == ("error", 4)
    assert bad_vote.reason


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<html>It works!</html>",
        "{",
        "null",
        "[]",
        "[1, 2]",
        '"Score: 4"',
        "{}",
        '{"choices": null}',
        '{"choices": {"0": 1}}',
        '{"error": "overloaded"}',
        '{"error": {"message": "\\ud83d", "code": "x"}, "choices": []}',
        '[{"error": {"code": 503, "message": "overloaded"}}]',
        "[" * 100_000,
        b"\xff\xfe\xff",
    ],
)
def test_a_body_that_is_no_completion_is_votes_of_status_error(content: str | bytes) -> None:
    votes = votes_on(content, votes=3)

    assert [vote.status for vote in votes] == ["error"] * 3
    assert all(vote.reason for vote in votes)


def test_one_odd_body_leaves_the_other_items_alone() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        return Response("<html>") if "oddity" in sent["messages"][0]["content"] else fours(sent)

    result = judged(Engine(reply), body("oddity", "b"))

    assert (result.judge_version, [judgment.score for judgment in result.data]) == ("policy@7", [None, 4])
    assert result.data[0].failure_kind == "error"


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {}, {"prompt_tokens": None}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}],
)  # fmt: skip
def test_odd_usage_counts_nothing(usage: Any) -> None:
    choices = [{"message": {"content": "Score: 4"}}]
    reply = read_reply(json.dumps({"choices": choices, "usage": usage}).encode(), "v", 1)

    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)
    assert [completion.text for completion in reply.completions] == ["Score: 4"]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {"content": None},
        {"tokens": ["Score: 4"], "token_logprobs": [-0.1]},
        {"content": [None]},
        {"content": [{"token": "Score: 4", "top_logprobs": None}]},
        {"content": [{"token": "Score: 4", "top_logprobs": [None]}]},
        {"content": [{"token": "Score: 4", "top_logprobs": [{"token": "4", "logprob": None}]}]},
        {"content": [{"token": "Score: 4", "top_logprobs": [{"token": "4", "logprob": 1000.0}]}]},
        {"content": [{"token": "Score: 4", "top_logprobs": {"4": -0.1}}]},
        {"content": [{"token": "Score: 4", "bytes": [300], "top_logprobs": [{"token": "4", "logprob": -0.1}]}]},
        {"content": [{"token": "\ud83d", "top_logprobs": [{"token": "4", "logprob": -0.1}]}]},
        {"content": [{"token": "Score: 4", "top_logprobs": [{"token": "4", "logprob": float("nan")}]}]},
    ],
)  # fmt: skip
def test_odd_logprobs_are_none(logprobs: Any) -> None:
    content = json.dumps({"choices": [{"message": {"content": "Score: 4"}, "logprobs": logprobs}]})

    (vote,) = votes_on(content, aggregation="expected")

    assert (vote.status, vote.expected) == ("error", None)
    assert "no probabilities" in str(vote.reason)


FIELDS = (
    *("choices", "message", "content", "reasoning", "refusal", "finish_reason", "type", "text", "thinking"),
    *("logprobs", "token", "bytes", "top_logprobs", "logprob", "usage", "prompt_tokens", "error", "code"),
)
ODDITIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "Score: 4", "length", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(ODDITIES, ODDITIES, ODDITIES, ODDITIES)
def test_no_reply_is_an_exception(content: Any, logprobs: Any, usage: Any, choice: Any) -> None:
    good = {"message": {"content": content, "reasoning": content}, "logprobs": {"content": logprobs}}

    for data in (content, {"choices": [good, choice], "usage": usage}, {"error": content}):
        reply = read_reply(json.dumps(data).encode(), "v", 2)

        assert (reply.prompt_tokens, reply.completion_tokens) >= (0, 0)
        for completion in reply.completions:
            texts = (completion.text, completion.reasoning or "", completion.refusal or "", completion.fault or "")
            assert json.dumps(texts, ensure_ascii=False).encode()
            assert isinstance(completion.finish_reason, str | None)
            word_probabilities(completion.logprobs, completion.text, 0)


def test_comparisons_have_votes_of_status_error_too() -> None:
    result = compared(Engine(lambda _: Response("{}")), pairs(("a", "b")))

    assert {vote.status for vote in result.data[0].votes} == {"error"}
    assert post(Engine(lambda _: Response(SURROGATE)), pairs(("a", "b")), "/v1/judge/pairwise").status_code == 200
