"""The official OpenAI client works against the generator, and errors have the shape it expects."""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from transformers import AutoTokenizer

from orchestrator.worker.search import request_fields
from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.base import Message
from services.trainer.training.checks import render
from services.trainer.training.data import render_begun
from tests.support.live_generator import Generator

CHAT: Any = [{"role": "user", "content": "Use 7 3 12 to make 33 ."}]


@pytest.fixture(scope="module")
def client(generator: Generator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{generator.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_models(generator: Generator, client: openai.OpenAI) -> None:
    label = generator.weights()["label"]
    assert [model.id for model in client.models.list()] == ["policy", label]
    assert client.models.retrieve("policy").id == "policy"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_chat_with_choices_seed_and_logprobs(generator: Generator, client: openai.OpenAI) -> None:
    def once() -> Any:
        return client.chat.completions.with_raw_response.create(
            model="policy", messages=CHAT, n=3, seed=11, temperature=0.7, top_p=0.9, max_tokens=10,
            logprobs=True, top_logprobs=2, extra_headers={"X-Request-Id": "mine-1"},
        )  # fmt: skip

    raw, again = once(), once()
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(len(choice.logprobs.content[0].top_logprobs) == 2 for choice in answer.choices)
    assert [c.message.content for c in answer.choices] == [c.message.content for c in again.parse().choices]
    assert answer.model == "policy"
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.headers[VERSION_HEADER] == generator.weights()["label"]


def test_a_narrow_nucleus_leaves_the_likeliest_token(client: openai.OpenAI) -> None:
    def texts(**sampling: float) -> set[str | None]:
        asked: Any = {"model": "policy", "messages": CHAT, "seed": 5, "max_tokens": 10, **sampling}
        return {choice.message.content for choice in client.chat.completions.create(**asked).choices}

    assert texts(temperature=2, n=8, top_p=0.001) == texts(temperature=0)
    assert len(texts(temperature=2, n=8, top_p=0.99)) > 4


@pytest.mark.parametrize("begun", ["", " 7 * 3 = 21 ;"])
def test_a_step_is_read_and_written_in_the_tokens_that_train(generator: Generator, begun: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(generator.model)
    messages = [*CHAT, *([{"role": "assistant", "content": begun}] if begun else [])]
    asked = {"model": "policy", "messages": messages, "n": 4, "seed": 3, "max_tokens": 12, "return_token_ids": True}
    answer = generator.http.post("/v1/chat/completions", json={**asked, **request_fields(begun, " ;")}).json()
    turns = [Message.model_validate(turn) for turn in messages]
    read = render_begun(tokenizer, turns) if begun else render(tokenizer, turns, answer_next=True)
    assert answer["prompt_token_ids"] == read
    for choice in answer["choices"]:
        text = choice["message"]["content"]
        assert text.endswith(" ;") == (choice["stop_reason"] == " ;")
        assert " ;" not in text.removesuffix(" ;")
        if text.endswith(" ;"):
            joined = Message(role="assistant", content=begun + text)
            assert render_begun(tokenizer, [Message.model_validate(CHAT[0]), joined]) == read + choice["token_ids"]


def test_chat_stream_equals_the_whole_answer(generator: Generator, client: openai.OpenAI) -> None:
    asked: Any = {"model": "policy@latest", "messages": CHAT, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    with client.chat.completions.with_streaming_response.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as reply:
        assert reply.headers[VERSION_HEADER] == generator.weights()["label"]
        chunks = list(reply.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage is not None
    assert len(chunks) > 3


def test_completions_whole_and_streamed(client: openai.OpenAI) -> None:
    asked: Any = {"model": "policy", "prompt": "<|user|>Use 7 3 12 to make 33 .<|assistant|>", "temperature": 0}
    whole = client.completions.create(**asked, max_tokens=8, logprobs=1)
    assert whole.choices[0].logprobs is not None
    streamed = "".join(c.choices[0].text for c in client.completions.create(**asked, max_tokens=8, stream=True))
    assert streamed == whole.choices[0].text


def test_structured_outputs(client: openai.OpenAI) -> None:
    extra: dict[str, object] = {"structured_outputs": {"regex": r"Score:[0-5]"}}
    answer = client.chat.completions.create(model="policy", messages=CHAT, max_tokens=8, extra_body=extra)
    # Word-level vocabulary: the space between two words belongs to no token, so the grammar has none. There are several
    # ways to write this in tokens.
    assert re.fullmatch(r"Score:[0-5]", "".join((answer.choices[0].message.content or "").split()))
    extra = {"structured_outputs": {"choice": ["yes", "no"]}}
    answer = client.chat.completions.create(model="policy", messages=CHAT, max_tokens=8, extra_body=extra)
    assert (answer.choices[0].message.content or "").strip() in ("yes", "no")


def test_tokenize_and_back(generator: Generator) -> None:
    tokens = generator.http.post("/tokenize", json={"model": "policy", "prompt": "7 * 3 = 21"}).raise_for_status()
    assert tokens.json()["count"] == 5
    text = generator.http.post("/detokenize", json={"tokens": tokens.json()["tokens"]}).raise_for_status()
    assert text.json()["prompt"] == "7 * 3 = 21"
    assert text.headers[VERSION_HEADER] == generator.weights()["label"]


def test_pinned_version(generator: Generator, client: openai.OpenAI) -> None:
    label = generator.weights()["label"]
    assert client.chat.completions.create(model=label, messages=CHAT, max_tokens=1).model == "policy"
    with pytest.raises(openai.ConflictError) as wrong:
        client.chat.completions.create(model="policy@987654", messages=CHAT, max_tokens=1)
    assert wrong.value.code == "wrong_policy_version"
    assert f"serves {label}, not policy@987654" in wrong.value.message


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "gpt-4"}, 404, "model"),
        ({"model": None}, 400, "model"),
        ({"n": 0}, 400, "n"),
        ({"n": "many"}, 400, "n"),
        ({"n": 100_000}, 400, "n"),
        ({"max_tokens": 1_000_000}, 400, None),
        ({"temperature": -1}, 400, None),
        ({"messages": []}, 400, None),
        ({"messages": "hello"}, 400, None),
        ({"chat_template": "{{ 1 }}"}, 400, "chat_template"),
        ({"kv_transfer_params": {"a": 1}}, 400, "kv_transfer_params"),
        ({"structured_outputs": {"regex": "("}}, 400, None),
        ({"structured_outputs": {"regex": "a" * 20_000}}, 400, "structured_outputs"),
        ({"structured_outputs": {"json": {"type": "nonsense"}}}, 400, None),
        ({"structured_outputs": {"json": {"type": "array", "minItems": 10**9}}}, 400, "structured_outputs"),
        ({"logit_bias": {"999999": 1}}, 400, None),
        ({"seed": 2**64}, 400, None),
        ({"prompt_logprobs": -1}, 400, None),
        ({"stop_token_ids": [-1], "max_tokens": 1, "allowed_token_ids": [10**9]}, 400, None),
        ({"messages": [{"role": "user", "content": "1 " * 600}]}, 400, None),
    ],
)
def test_errors_are_openai_shaped(
    generator: Generator, client: openai.OpenAI, change: dict[str, Any], status: int, param: str | None
) -> None:
    reply = generator.http.post("/v1/chat/completions", json={"model": "policy", "messages": CHAT, **change})
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if param:
        assert error["param"] == param
    assert generator.ready()


def test_a_body_that_is_no_json_object(generator: Generator) -> None:
    for body, status in ((b"{", 400), (b"[1]", 400), (b"[" * 100_000, 400), (b'"' + b"a" * (5 << 20) + b'"', 413)):
        reply = generator.http.post("/v1/completions", content=body)
        assert reply.status_code == status
        assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/collective_rpc"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/abort_requests"),
        ("POST", "/sleep"), ("POST", "/update_weight_version"), ("POST", "/reset_prefix_cache"),
        ("POST", "/v1/responses"), ("POST", "/v1/chat/completions/batch"), ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/../collective_rpc"), ("POST", "/v1/load_lora_adapter"), ("POST", "/inference/v1/generate"),
        ("GET", "/server_info"),
    ],
)  # fmt: skip
def test_routes_off_the_list_do_not_exist(generator: Generator, method: str, path: str) -> None:
    host, port = generator.url.removeprefix("http://").split(":")
    # By hand, because a client would tidy the path.
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        assert raw.recv(64).startswith((b"HTTP/1.1 404", b"HTTP/1.1 307"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(generator: Generator, stream: bool) -> None:
    """The engine stops working on answers that nobody waits for."""
    body = {"model": "policy", "messages": CHAT, "max_tokens": 480, "ignore_eos": True, "stream": stream, "n": 128}
    with httpx.Client(base_url=generator.url, timeout=1) as http:
        request = http.build_request("POST", "/v1/chat/completions", json=body)
        if stream:
            reply = http.send(request, stream=True)
            next(reply.iter_raw())
            reply.close()
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.send(request)
    # All 128 answers would take far longer than this, the more so on a slow machine.
    deadline, before, now = time.monotonic() + 12, (1.0, 0.0), progress(generator)
    while now[0] or now != before:
        assert time.monotonic() < deadline, (before, now)
        time.sleep(0.5)
        before, now = now, progress(generator)


def progress(generator: Generator) -> tuple[float, float]:
    """Requests that the gateway counts as in flight, and tokens that the engine has generated since it started."""
    page = generator.http.get("/metrics").text
    names = ("selfreward_generator_inflight_requests", "vllm:generation_tokens_total")
    inflight, tokens = (float(re.findall(rf"^{name}\{{.*\}} (.*)$", page, re.M)[0]) for name in names)
    return inflight, tokens


def test_metrics_and_openapi(generator: Generator) -> None:
    page = generator.http.get("/metrics").text
    assert "selfreward_generator_weights_version_info{sha=" in page
    assert "vllm:num_requests_waiting" in page
    assert len(re.findall("^# TYPE process_cpu_seconds_total ", page, re.M)) == 1
    assert "/admin/weights" in json.dumps(generator.http.get("/openapi.json").json())
