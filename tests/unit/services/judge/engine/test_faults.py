"""Refusals of engines, through the judge: of an item, until a setting is mended, or of the moment."""

from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from services.judge.engine.faults import fault_of, setting_to_mend
from tests.support.judge_engine import Engine, body, fours, judged, message, post

KEY, MODEL, URL = (f"SELFREWARD_JUDGE_ENGINE_{name}" for name in ("KEY", "MODEL", "URL"))
TOO_LONG = {
    "error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}
}
FILTERED = {"error": {"message": "The response was filtered", "code": "content_filter"}}


def refuse(answer: Any, status: int = 400, only: str = "") -> Engine:
    """An engine that refuses prompts with a word in them, and judges the others."""

    def reply(sent: dict[str, Any]) -> Response:
        return JSONResponse(answer, status) if only in sent["messages"][0]["content"] else fours(sent)

    return Engine(reply)


@pytest.mark.parametrize(
    ("status", "setting"),
    [(401, KEY), (402, KEY), (403, KEY), (403, MODEL), (404, MODEL), (404, URL), (405, URL), (308, URL)],
)
def test_a_permanent_refusal_is_an_error_at_once_that_names_the_setting(status: int, setting: str) -> None:
    engine = refuse({"error": "no"}, status)

    answer = post(engine, body("a"))

    assert (answer.status_code, answer.json()["error"]["code"]) == (424, "engine_refused")
    assert setting in message(answer)
    assert "retry-after" not in answer.headers
    assert len(engine.bodies) == 1


def test_a_permanent_refusal_of_one_item_is_its_own_error() -> None:
    result = judged(refuse({"error": "no"}, 403, only="oddity"), body("oddity", "b"))

    assert [judgment.score for judgment in result.data] == [None, 4]
    assert result.data[0].failure_kind == "error"
    assert KEY in str(result.data[0].failure_reason)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_prompt_over_the_context_is_the_items_fault(status: int) -> None:
    engine = refuse(TOO_LONG, status, only="oddity")

    both, alone = judged(engine, body("oddity", "b")), judged(engine, body("oddity"))

    assert [judgment.failure_kind for judgment in both.data] == ["too_long", None]
    assert [judgment.failure_kind for judgment in alone.data] == ["too_long"]
    assert "lower max_tokens" in str(alone.data[0].failure_reason)
    assert len(engine.bodies) == 3


@pytest.mark.parametrize(("answer", "kind"), [(TOO_LONG, "too_long"), (FILTERED, "refused")])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/score", {"text_1": "p", "text_2": ["oddity"]}),
        ("/rerank", {"query": "p", "documents": ["oddity"]}),
    ],
)
def test_an_items_fault_is_422_on_contracts_of_numbers(answer: Any, kind: str, path: str, sent: Any) -> None:
    refused = post(refuse(answer), sent, path)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "unscored")
    assert kind in message(refused)


@pytest.mark.parametrize("status", [400, 403])
def test_a_filtered_prompt_is_refused(status: int) -> None:
    result = judged(refuse(FILTERED, status), body("a"))

    assert [vote.status for vote in result.data[0].votes] == ["refused"] * 3


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "You passed 2049 input tokens, the model's context length is only 2048 tokens", "too_long"),
        (400, "The input (2049 tokens) is longer than the model's context length (2048 tokens).", "too_long"),
        (400, "the request exceeds the available context size, try increasing it", "too_long"),
        (500, "the request exceeds the available context size, try increasing it", "too_long"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 9", "too_long"),
        (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "too_long"),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "too_long"),
        (400, "prompt is too long: 208310 tokens > 200000 maximum", "too_long"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", "too_long"),
        (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "too_long"),
        (400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens.", "too_long"),
        (400, "Your request exceeded model token limit : 8192", "too_long"),
        (400, '{"error": {"code": "1261", "message": "Prompt 超长"}}', "too_long"),
        (400, "Requested tokens (2285) exceed context window of 2048", "too_long"),
        (413, "Request Entity Too Large", "too_long"),
        (400, "The response was filtered due to the prompt triggering our content management policy", "refused"),
        (400, "Your request was rejected as a result of our safety system", "refused"),
        (400, "Content Exists Risk", "refused"),
        (400, '{"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}', "refused"),
        (403, "Content violates usage guidelines", "refused"),
        (400, "max_tokens is too large: 100000. This model supports at most 4096 completion tokens", "error"),
        (400, "messages: at least one message is required", "error"),
        (500, "internal error", "error"),
        (None, "no answer in 300 s", "error"),
    ],
)
def test_messages_of_providers(status: int | None, words: str, kind: str) -> None:
    assert fault_of(status, words).status == kind


@pytest.mark.parametrize(
    ("status", "words", "setting"),
    [
        (400, "API key not valid. Please pass a valid API key.", KEY),
        (400, "Model Not Exist", MODEL),
        (400, "gpt-x is not a valid model ID", MODEL),
        (400, "messages: at least one message is required", None),
        (429, "Rate limit reached", None),
        (429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}', KEY),
        (503, "overloaded", None),
        (403, "Content violates usage guidelines", None),
    ],
)
def test_what_has_to_be_mended(status: int, words: str, setting: str | None) -> None:
    mend = setting_to_mend(status, words)

    assert (mend is None) == (setting is None)
    assert setting is None or setting in str(mend)
