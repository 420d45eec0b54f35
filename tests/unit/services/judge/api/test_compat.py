"""The contracts of other tools, with bodies as those tools send them (`wire/`, after the sources that each cites)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from services.judge.api.openrlhf import response_in
from tests.support.judge_engine import (
    GOOD,
    PROMPT,
    Engine,
    by_length,
    completion,
    good_is_better,
    message,
    running,
    unreadable,
)

WIRE = Path(__file__).parent / "wire"
ROUTES = ("/score", "/rerank", "/get_reward", "/compat/slime", "/verify")


def wire(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


def post(path: str, body: Any, engine: Engine | None = None, **settings: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with running(engine or Engine(good_is_better), **settings) as client:
            return await client.post(path, json=body)

    return asyncio.run(scenario())


def judged_prompts(engine: Engine) -> list[str]:
    return [sent["messages"][0]["content"] for sent in engine.bodies]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_vllm_score(path: str) -> None:
    answer = post(path, wire("vllm_score"))

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-selfreward-policy-version"] == "policy@7"
    assert (body["object"], body["id"][:6]) == ("list", "score-")
    assert body["model"].startswith("countdown@sha256:")
    assert isinstance(body["created"], int)
    assert body["data"] == [
        {"index": 0, "object": "score", "score": 5.0},
        {"index": 1, "object": "score", "score": 2.0},
    ]
    assert body["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (PROMPT, GOOD, [5.0]),
        ([PROMPT], ["7 + 3", GOOD], [2.0, 5.0]),
        ([PROMPT, PROMPT], [GOOD, "7 + 3"], [5.0, 2.0]),
    ],
)
def test_vllm_score_broadcasts_one_prompt_and_pairs_several(one: Any, two: Any, expected: list[float]) -> None:
    answer = post("/score?rubric=countdown", {"text_1": one, "text_2": two})

    assert [entry["score"] for entry in answer.json()["data"]] == expected


def test_vllm_score_has_other_names_for_its_texts() -> None:
    for one, two in (("queries", "documents"), ("queries", "items"), ("data_1", "data_2")):
        answer = post("/score?rubric=countdown", {one: PROMPT, two: GOOD})
        assert answer.json()["data"][0]["score"] == 5.0


_WITHOUT_EFFECT = {
    "user": "me",
    "request_id": "r",
    "priority": -1,
    "cache_salt": "salt",
    "padding": "do_not_pad",
    "truncate_prompt_tokens": 512,
    "truncation_side": "left",
    "max_tokens_per_query": 0,
    "max_tokens_per_doc": 8,
    "mm_processor_kwargs": {},
    "instruction": None,
    "chat_template_kwargs": {},
    "use_activation": True,
}


@pytest.mark.parametrize(("path", "texts"), [("/score", ("text_1", "text_2")), ("/rerank", ("query", "documents"))])
def test_vllms_fields_have_no_effect_or_are_refused(path: str, texts: tuple[str, str]) -> None:
    request: dict[str, Any] = {"model": "countdown", texts[0]: PROMPT, texts[1]: [GOOD]}
    engine = Engine(good_is_better)

    plain, with_fields = post(path, request), post(path, {**request, **_WITHOUT_EFFECT}, engine)
    refused = {
        name: post(path, {**request, name: value})
        for name, value in (
            ("instruction", "Judge by style."),
            ("chat_template_kwargs", {"instruction": "Judge by style."}),
            ("use_activation", False),
        )
    }

    assert with_fields.status_code == 200
    assert with_fields.json().get("data") == plain.json().get("data")
    assert with_fields.json().get("results") == plain.json().get("results")
    assert judged_prompts(engine)[0].endswith(f"Answer : {GOOD}")
    for name, answer in refused.items():
        assert (answer.status_code, name in message(answer)) == (422, True)
    assert "put it into a rubric of your own" in message(refused["instruction"])


@pytest.mark.parametrize(("path", "texts"), [("/score", ("text_1", "text_2")), ("/rerank", ("query", "documents"))])
def test_vllms_content_parts_are_read_and_images_refused(path: str, texts: tuple[str, str]) -> None:
    def parts(*listed: dict[str, Any]) -> dict[str, Any]:
        return {"content": list(listed)}

    engine = Engine(good_is_better)
    text = {texts[0]: parts({"type": "text", "text": PROMPT}), texts[1]: [parts({"type": "text", "text": GOOD})]}
    image = {texts[0]: PROMPT, texts[1]: [GOOD, parts({"type": "image_url", "image_url": {"url": "data:"}})]}

    assert post(f"{path}?rubric=countdown", text, engine).status_code == 200
    assert judged_prompts(engine)[0].endswith(f"Answer : {GOOD}")
    refused = post(path, image)
    assert refused.status_code == 422
    assert f"{texts[1]}.1.content[0] = " in message(refused)
    assert "only text can be judged" in message(refused)


def test_vllm_score_refuses_texts_that_do_not_pair() -> None:
    answer = post("/score", {"text_1": ["a", "b"], "text_2": ["x", "y", "z"]})

    assert answer.status_code == 422
    assert message(answer) == "text_1 has 2 entries and text_2 has 3: send 1:1, 1:N or N:N"


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank_sorts_and_normalises(path: str) -> None:
    documents = ["7 + 3", GOOD, {"text": "7 - 3", "source": None}]

    body = post(path, {"model": "countdown", "query": PROMPT, "documents": documents}).json()

    assert [(result["index"], result["relevance_score"]) for result in body["results"]] == [
        (1, 1.0),
        (0, 0.4),
        (2, 0.4),
    ]
    documents_back = [result.get("document") for result in body["results"]]
    with_documents = [{"text": GOOD}, {"text": "7 + 3"}, {"text": "7 - 3", "source": None}]
    assert documents_back == ([None] * 3 if path == "/v2/rerank" else with_documents)
    assert body["usage"]["total_tokens"] > 0


def test_rerank_returns_what_is_asked_for() -> None:
    request = {"model": "countdown", "query": PROMPT, "documents": ["7 + 3", GOOD], "top_n": 1}

    (shown,) = post("/v2/rerank", {**request, "return_documents": True}).json()["results"]
    (bare,) = post("/rerank", {**request, "return_documents": False}).json()["results"]

    assert shown == {"index": 1, "relevance_score": 1.0, "document": {"text": GOOD}}
    assert bare == {"index": 1, "relevance_score": 1.0}


def test_rerank_reads_the_fields_that_it_is_told_to() -> None:
    engine = Engine(good_is_better)
    request = {"model": "countdown", "query": PROMPT, "documents": [{"title": "T", "body": "B", "other": "O"}]}

    post("/rerank", {**request, "rank_fields": ["title", "body"]}, engine)
    refused = post("/rerank", request)

    assert judged_prompts(engine)[0].endswith("Answer : title: T\nbody: B")
    assert refused.status_code == 422
    assert message(refused) == "documents.0 has no field 'text': add it, or name others in rank_fields"


def test_openrlhf_is_judged_without_prompt_and_end_tokens() -> None:
    engine = Engine(good_is_better)

    answer = post("/get_reward?rubric=countdown", wire("openrlhf"), engine)

    assert answer.json() == {"rewards": [5.0], "scores": [1.0], "extra_logs": {}}
    assert judged_prompts(engine)[0].endswith(f"Answer : {GOOD}")


@pytest.mark.parametrize(
    ("query", "prompt", "expected"),
    [
        ("ab", "a", "b"),
        ("Q: 1+1? A: 2</s>", "Q: 1+1? A: ", "2"),
        ("Q: 2<|eot_id|><|end_of_text|>\n", "Q: ", "2"),
        ("the tail of the prompt, which is long: answer", "a head; the tail of the prompt, which is long:", " answer"),
        ("ab" * 20 + "c", "ab" * 30, "c"),
        ("too short a tail: x", "the head and too short a tail:", None),
        ("other", "prompt", None),
        ("", "prompt", None),
        ("", "", ""),
        # Unicode normalisation, tokens and white space that decoding adds or drops.
        ("Wo ist Zu\u0308rich? Dort.", "Wo ist Z\u00fcrich?", " Dort."),
        ("Wo ist Z\u00fcrich? Dort.", "Wo ist Zu\u0308rich?", " Dort."),
        ("\u1112\u1161\u11ab ok", "\ud55c", " ok"),
        ("full A: x", "\uff46\uff55\uff4c\uff4c \uff21:", " x"),
        ("<s> Q: 1 A: 2</s>", "Q: 1 A:", " 2"),
        ("<|begin_of_text|>Hi! Yes<|eot_id|>", "Hi !", " Yes"),
        ("<bos><start_of_turn>user\nQ<end_of_turn>\nA<end_of_turn>", "<start_of_turn>user\nQ<end_of_turn>\n", "A"),
        ("<\uff5cbegin\u2581of\u2581sentence\uff5c>Q A<\uff5cend\u2581of\u2581sentence\uff5c>", "Q", " A"),
        ("\ufffdfu\u0308r die Antwort eines Modells: 2", "Eine Frage f\u00fcr die Antwort eines Modells:", " 2"),
    ],
)
def test_the_response_in_an_openrlhf_query(query: str, prompt: str, expected: str | None) -> None:
    assert response_in(query, prompt) == expected


def test_openrlhf_lists_must_fit() -> None:
    other_prompt = post("/get_reward", {"query": ["x"], "prompts": ["y"]})
    too_few = post("/get_reward", {"query": ["x", "x"], "prompts": ["x"], "labels": ["", ""]})

    assert (other_prompt.status_code, too_few.status_code) == (422, 422)
    assert message(other_prompt).startswith("query.0 does not begin with prompts.0")
    assert message(too_few) == "prompts has 1 entries and query has 2: send one for each"


def test_slime_gets_a_number_or_an_object_with_its_reward_key() -> None:
    number = post("/compat/slime?rubric=countdown&votes=1", wire("slime"))
    keyed = post("/compat/slime?rubric=countdown&reward_key=score", wire("slime"))

    assert number.json() == 5.0
    assert keyed.json() == {"score": 5.0}


def test_nemo_gym_gets_its_body_back_with_the_reward() -> None:
    engine = Engine(good_is_better)
    sent = wire("nemo_gym")

    answer = post("/verify?rubric=countdown", sent, engine)

    verdict = {"reward": 5.0, "mask_sample": False, "failure_kind": None, "failure_reason": None}
    assert answer.json() == {**sent, **verdict}
    (prompt,) = judged_prompts(engine)
    assert "Answer in one line." in prompt
    assert "Count with care." in prompt
    assert f"User: {PROMPT}" in prompt
    call = 'Tool call: multiply({"a": 7})'
    assert prompt.endswith(f"Answer : Assistant: {call}\n\nTool: multiply: 21\n\nAssistant: {GOOD}")


@pytest.mark.parametrize(("reply", "kind"), [(unreadable, "judge_unparseable"), (None, "judge_failed")])
def test_nemo_gym_masks_what_has_no_score(reply: Any, kind: str) -> None:
    refuses = Engine(reply or (lambda _: JSONResponse({"error": "too long"}, 400)))

    body = post("/verify?rubric=countdown", wire("nemo_gym"), refuses).json()

    assert (body["mask_sample"], body["failure_kind"]) == (True, kind)
    assert "0 of 3 votes valid" in body["failure_reason"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ([], "response: there is no text and no tool call to judge"),
        ([{"type": "reasoning", "summary": []}], "response: there is no text"),
        ([{"type": "image_generation_call", "result": "x"}], "response.output[0] = {'type': 'image_generation_call'"),
    ],
)
def test_nemo_gym_masks_what_cannot_be_judged(output: list[Any], reason: str) -> None:
    engine = Engine(good_is_better)
    sent = wire("nemo_gym")
    sent["response"]["output"] = output

    body = post("/verify?rubric=countdown", sent, engine).json()

    assert (body["mask_sample"], body["failure_kind"], engine.bodies) == (True, "judge_failed", [])
    assert reason in body["failure_reason"]


def test_slime_takes_messages_and_says_when_there_is_nothing_to_judge() -> None:
    turns = [{"role": "developer", "content": "Count.", "name": None}, {"role": "user", "content": PROMPT}]

    judged = post("/compat/slime?rubric=countdown", {"prompt": turns, "response": GOOD, "label": None})
    nothing = post("/compat/slime?rubric=countdown", {"prompt": turns, "response": None})

    assert judged.json() == 5.0
    assert nothing.status_code == 422
    assert "there is no text and no tool call to judge" in message(nothing)


def _cohort(*texts: Any, **fields: Any) -> dict[str, Any]:
    responses = [{"output": [{"type": "message", "role": "assistant", "content": text}]} for text in texts]
    return {"conversation_history": [{"role": "user", "content": PROMPT}], "response_objs": responses, **fields}


def test_nemo_gyms_cohort_is_compared_in_both_orders() -> None:
    engine = Engine(by_length)

    body = post("/compare?strategy=all_pairs", _cohort("xx", "xxx", "x", None), engine).json()

    assert body["rewards"] == [0.5, 1.0, 0.0, None]
    decided = [(result["response_i"], result["response_j"]) for result in body["comparison_results"]]
    assert decided == [(0, 1), (0, 2), (1, 2)]
    first = body["comparison_results"][0]
    assert (first["score_1"], first["score_2"], first["ranking"], first["winner"]) == (0, 1, 6, "b")
    assert body["metrics"] == {
        "unscored": 1,
        "mean_individual_score": 0.5,
        "std_individual_score": 0.5,
        "tiebreak_usage_rate": 0,
    }
    assert len(engine.bodies) == 6, "each pair of responses that say something, in both orders"


@pytest.mark.parametrize(("count", "asked"), [(2, 2), (4, 8)])
def test_nemo_gyms_cohort_goes_round_by_default(count: int, asked: int) -> None:
    engine = Engine(by_length)

    rewards = post("/compare", _cohort(*("x" * (number + 1) for number in range(count))), engine).json()["rewards"]

    assert len(engine.bodies) == asked
    assert (rewards[0], rewards[-1]) == (0, 1)


def test_nemo_gyms_cohort_may_be_scored_or_judged_by_a_principle() -> None:
    engine = Engine(lambda sent: completion(*["Winner: A"] * sent["n"]))

    scored = post("/compare?rubric=countdown", _cohort(GOOD, "7 + 3", []), Engine(good_is_better)).json()
    alone = post("/compare", _cohort(GOOD)).json()
    post("/compare", _cohort("x", "y", principle="Be terse."), engine)
    refused = post("/compare?rubric=pairwise", _cohort("x", "y", principle="Be terse."))

    assert (scored["rewards"], scored["metrics"]) == ([5.0, 2.0, None], {"unscored": 1})
    assert (alone["rewards"], alone["comparison_results"]) == ([None], None)
    assert "Be terse." in judged_prompts(engine)[0]
    assert (refused.status_code, "principle" in message(refused)) == (422, True)


def test_nemo_gyms_agents_can_begin_a_session() -> None:
    assert post("/seed_session", wire("nemo_gym")).json() == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", {"model": "countdown", "text_1": PROMPT, "text_2": [GOOD, "x"]}),
        ("/rerank", {"model": "countdown", "query": PROMPT, "documents": [GOOD, "x"]}),
        ("/get_reward?rubric=countdown", wire("openrlhf")),
        ("/compat/slime?rubric=countdown", wire("slime")),
    ],
)
def test_no_score_is_an_error_and_never_a_number(path: str, body: Any) -> None:
    unread = post(path, body, Engine(unreadable))
    failed = post(path, body, Engine(lambda _: JSONResponse({"error": "too long"}, 400)))

    assert (unread.status_code, failed.status_code) == (422, 503)
    assert unread.json()["error"]["code"] == "unscored"
    assert "3 unparsed" in message(unread)
    assert failed.headers["retry-after"] == "2"


def test_an_engine_that_is_away_is_503_everywhere() -> None:
    def away(_: dict[str, Any]) -> Response:
        return JSONResponse({"error": "down"}, 500)

    for path, name in (("/score", "vllm_score"), ("/verify", "nemo_gym"), ("/compat/slime", "slime")):
        assert post(path, wire(name), Engine(away)).status_code == 503


@pytest.mark.parametrize(
    ("query", "model", "rubric", "sent_model"),
    [
        ("?rubric=countdown", None, "countdown", "policy"),
        ("", "countdown", "countdown", "policy"),
        ("?rubric=countdown", "policy", "countdown", "policy"),
        ("?rubric=countdown", "policy@7", "countdown", "policy@7"),
        ("", "policy@7", "additive5", "policy@7"),
        ("?rubric=countdown", "additive5", "countdown", "policy"),
    ],
)
def test_the_model_is_a_rubric_or_what_the_engine_serves(
    query: str, model: str | None, rubric: str, sent_model: str
) -> None:
    engine = Engine()

    answer = post(f"/score{query}", {"model": model, "text_1": PROMPT, "text_2": GOOD}, engine)

    assert answer.json()["model"].startswith(f"{rubric}@sha256:")
    assert engine.bodies[0]["model"] == sent_model


def test_votes_are_chosen_in_the_query() -> None:
    engine = Engine()

    post("/score?rubric=countdown&votes=7", {"text_1": PROMPT, "text_2": GOOD}, engine)
    too_many = post("/score?votes=65", {"text_1": PROMPT, "text_2": GOOD})
    misspelt = post("/score?vote=3", {"text_1": PROMPT, "text_2": GOOD})

    assert engine.bodies[0]["n"] == 7
    assert (too_many.status_code, misspelt.status_code) == (422, 422)
    assert "vote is not a field" in message(misspelt)


def test_an_unknown_model_is_404() -> None:
    answer = post("/rerank", {"model": "rerank-v3.5", "query": PROMPT, "documents": [GOOD]})

    assert answer.status_code == 404
    assert "countdown@sha256:" in message(answer)


@pytest.mark.parametrize("path", ["/rerank", "/verify"])
def test_what_goes_back_must_be_json(path: str) -> None:
    contents = {
        "/rerank": b'{"query": "q", "documents": [{"text": "t", "x": NaN}]}',
        "/verify": b'{"responses_create_params": {"input": "q"}, "response": {"output": []}, "x": NaN}',
    }

    async def scenario() -> httpx.Response:
        async with running(Engine()) as client:
            return await client.post(path, content=contents[path], headers={"Content-Type": "application/json"})

    answer = asyncio.run(scenario())
    assert answer.status_code == 422
    assert "NaN or Infinity" in message(answer)


def test_each_contract_is_counted_under_its_own_name() -> None:
    async def scenario() -> str:
        async with running(Engine()) as client:
            for path in ROUTES:
                await client.post(path, json={})
            await client.post("/compat/slime?rubric=countdown", json=wire("slime"))
            return (await client.get("/metrics")).text

    page = asyncio.run(scenario())

    for contract in ("vllm_score", "rerank", "openrlhf", "slime", "nemo_gym"):
        assert f'requests_total{{contract="{contract}",rubric="unknown",status="422"}}' in page
    assert 'requests_total{contract="slime",rubric="countdown",status="200"}' in page
