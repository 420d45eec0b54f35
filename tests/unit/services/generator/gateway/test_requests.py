"""What the gateway itself checks in a body, and what it sends on."""

import json
from typing import Any

import pytest

from selfreward.server.errors import ApiError
from services.generator.gateway.requests import pinned, prepare

CHAT = "/v1/chat/completions"


def prepared(route: str = CHAT, /, **body: Any) -> Any:
    return prepare(route, json.dumps({"model": "policy", **body}).encode(), max_sequences=8)


def test_model_names() -> None:
    assert pinned("policy") is None
    assert pinned("policy@latest") is None
    assert pinned("policy@7") == "policy@7"
    assert pinned("policy@none") == "policy@none"
    for name in ("gpt-4", "policy@", "policy@x", "policy@-1", "Policy", 7, ["policy"]):
        with pytest.raises(ApiError, match="does not exist") as error:
            pinned(name)
        assert error.value.status == 404


def test_model_may_be_left_out_only_where_nothing_is_generated() -> None:
    assert prepare("/tokenize", b'{"prompt": "a"}', 8).pin is None
    with pytest.raises(ApiError, match="model is missing"):
        prepare(CHAT, b"{}", 8)


def test_the_engine_gets_its_own_model_name_and_a_salt_of_the_version() -> None:
    sent = json.loads(prepared(model="policy@3", temperature=0.5).content("policy@3"))
    assert sent == {"model": "policy", "temperature": 0.5, "cache_salt": "policy-3"}
    assert json.loads(prepared(cache_salt="mine").content("policy@3"))["cache_salt"] == "mine"
    assert "cache_salt" not in json.loads(prepared("/tokenize", prompt="a").content("policy@3"))


@pytest.mark.parametrize("name", ["chat_template", "prompt_embeds", "request_id", "kv_transfer_params", "vllm_xargs"])
def test_dangerous_fields(name: str) -> None:
    with pytest.raises(ApiError, match="is not accepted here") as error:
        prepared(**{name: {"a": "b"}})
    assert error.value.param == name
    # Clients that send every field they know send these as null.
    assert name not in prepared(**{name: None}).body


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"n": 8}, True),
        ({"n": 9}, False),
        ({"n": None}, True),
        ({"n": True}, False),
        ({"n": 2.0}, False),
        ({"prompt": ["a"] * 4, "n": 2}, True),
        ({"prompt": ["a"] * 5, "n": 2}, False),
        ({"prompt": [1] * 50}, True),
        ({"prompt": [[1], [2]], "n": 4}, True),
    ],
)
def test_sequences_of_one_request_are_bounded(body: dict[str, Any], allowed: bool) -> None:
    if allowed:
        prepared("/v1/completions", **body)
    else:
        with pytest.raises(ApiError) as error:
            prepared("/v1/completions", **body)
        assert error.value.param == "n"


@pytest.mark.parametrize(
    "grammar",
    [
        {"structured_outputs": {"json": {"type": "array", "minItems": 10**9}}},
        {"structured_outputs": {"json": json.dumps({"type": "array", "minItems": 1e9})}},
        {"structured_outputs": {"json": '{"min\\u0049tems": 1000000000}'}},
        {"structured_outputs": {"json": {"properties": {"a": {"items": [{"maxLength": 10_001}]}}}}},
        {"structured_outputs": {"regex": "a{2,1000000}"}},
        {"structured_outputs": {"grammar": 'root ::= "a"{1000000}'}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "a{99999}"}}}},
        {"tools": [{"function": {"parameters": {"minProperties": float("inf")}}}]},
        {"structured_outputs": {"json": "{"}},
        {"structured_outputs": {"regex": "a" * 20_000}},
        {"structured_outputs": {"json": json.loads('{"items":' * 100 + "{}" + "}" * 100)}},
        {"structured_outputs": {"regex": "(a{200}){200}"}},
        {"structured_outputs": {"regex": "a?" * 4000}},
        {"structured_outputs": {"regex": "(" * 100 + "a" + ")" * 100}},
        {"structured_outputs": {"json": {"properties": {f"p{n}": {} for n in range(200)}}}},
        {"structured_outputs": {"json": {"items": {"items": {"minItems": 9000}, "minItems": 9000}, "minItems": 2}}},
        {"structured_outputs": {"json": {"$ref": "#/default", "default": {"minItems": 10**9}}}},
        {"structured_outputs": {"json": {"patternProperties": {"a{20000}": {}}}}},
        {"structured_outputs": {"choice": ["a"] * 300}},
        {"structured_outputs": {"grammar": 'start: %json {"minItems": 1e9}'}},
        {"structured_outputs": {"structural_tag": "{}"}},
        {"response_format": {"type": "structural_tag", "format": {"type": "grammar"}}},
    ],
)
def test_grammars_that_could_end_the_engine(grammar: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as error:
        prepared(**grammar)
    assert (error.value.status, error.value.param) == (400, next(iter(grammar)))


def test_ordinary_grammars_pass() -> None:
    schema = {"type": "object", "properties": {"minItems": {"type": "string", "maxLength": 200, "pattern": "a{1,80}"}}}
    prepared(structured_outputs={"json": schema})
    prepared(structured_outputs={"regex": r"Score: [0-5]\{\}{3}"})
    prepared(structured_outputs={"choice": ["yes", "no"]}, tools=[])
    prepared(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    prepared(response_format={"type": "json_object"})


def test_text_and_data_of_a_schema_are_no_patterns() -> None:
    """They were read as if they were, and refused."""
    data = {"type": "array", "minItems": 10**9}
    said = {"description": "as a{99999}", "enum": ["{1000000}", data], "default": data, "title": "a?" * 900}
    assert prepared(structured_outputs={"json": said}).grammars == ()


def test_what_the_judge_asks_for_needs_no_trial() -> None:
    asked = {"continue_final_message": True, "add_generation_prompt": False}
    for form in (" ?(0|1|2|3|4|5)", " ?(A|B|tie)", " ?([0-9]|10)"):
        assert prepared(structured_outputs={"regex": form}, **asked).grammars == ()


def test_what_is_larger_is_tried_first() -> None:
    (grammar,) = prepared(structured_outputs={"regex": "a?" * 50}).grammars
    assert (grammar.kind, grammar.text) == ("regex", "a?" * 50)


def test_a_setting_allows_grammars() -> None:
    body = json.dumps({"model": "policy", "structured_outputs": {"grammar": 'root ::= "a"'}}).encode()
    assert prepare(CHAT, body, 8, constraints=("json", "grammar")).grammars == ()


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"prompt": "a" * 40_000, "echo": True, "logprobs": 1, "max_tokens": 0}, False),
        ({"prompt": [[1] * 400] * 100, "n": 1, "echo": True, "logprobs": 0}, False),
        ({"prompt": "a" * 40_000, "prompt_logprobs": 0}, False),
        ({"prompt": "a" * 2_000, "echo": True, "logprobs": 1, "max_tokens": 0}, True),
        ({"prompt": "a" * 40_000, "echo": True}, True),
    ],
)
def test_scoring_of_prompts_is_bounded(body: dict[str, Any], allowed: bool) -> None:
    raw = json.dumps({"model": "policy", **body}).encode()
    if allowed:
        prepare("/v1/completions", raw, 256)
    else:
        with pytest.raises(ApiError, match="log-probabilities of"):
            prepare("/v1/completions", raw, 256)


@pytest.mark.parametrize("route", ["/tokenize", "/detokenize"])
def test_what_is_only_tokenized_has_a_bound(route: str) -> None:
    with pytest.raises(ApiError) as error:
        prepared(route, prompt="a" * 300_000)
    assert error.value.status == 413


@pytest.mark.parametrize(("top_p", "argument"), [(0.9, 0.9), (1.0, None), (0, None), (1.5, None), ("0.9", None)])
def test_a_cpu_engine_gets_top_p_as_the_argument_of_our_processor(top_p: object, argument: float | None) -> None:
    body = json.dumps({"model": "policy", "top_p": top_p}).encode()
    sent = prepare(CHAT, body, 8, own_nucleus=True).body
    assert (sent.get("vllm_xargs"), sent.get("top_p")) == (({"top_p": argument}, None) if argument else (None, top_p))
    assert prepare(CHAT, body, 8).body["top_p"] == top_p


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'"stop": ["a", "\\ud800"]', "half of a surrogate pair"),
        (b'"messages": [{"role": "user", "content": "\\udfff"}]', "half of a surrogate pair"),
        (b'"stop": "\xed\xa0\x80"', "is not UTF-8"),
        (b'"top_k": 1180591620717411303424', "top_k is beyond 64 bits"),
        (b'"seed": -9223372036854775809', "seed is beyond 64 bits"),
        (b'"temperature": NaN', "temperature = nan is no finite number"),
        (b'"top_p": 1e999', "top_p = inf is no finite number"),
    ],
)
def test_values_that_the_engine_fails_at_are_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ApiError, match=said) as error:
        prepare(CHAT, b'{"model": "policy", ' + raw + b"}", 8)
    assert error.value.status == 400


def test_whole_pairs_and_large_numbers_pass() -> None:
    prepare(CHAT, b'{"model": "policy", "stop": "\\ud83d\\ude00", "seed": 9223372036854775807, "top_k": -1}', 8)
