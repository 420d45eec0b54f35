"""What says nothing is not put to the engine and gets no verdict; everything beside it is judged."""

from typing import Any

import pytest

from tests.support.judge_engine import Engine, body, completion, content, good_is_better, judged, post

_SILENT = [{"role": "assistant", "content": None, "refusal": None}]


def test_only_the_items_that_say_something_are_judged() -> None:
    engine = Engine(good_is_better)
    sent = body("7 + 3", "7 * 3")
    sent["items"].insert(1, {"id": "silent", "prompt": "p", "response": _SILENT})
    sent["items"].append({"prompt": None, "response": "r"})

    answer = judged(engine, sent)

    assert [judgment.score for judgment in answer.data] == [2, None, 2, None]
    silent = answer.data[1]
    assert (silent.id, silent.status, silent.failure_kind) == ("silent", "unscored", "nothing_to_judge")
    assert str(silent.failure_reason).endswith("response: there is no text and no tool call to judge)")
    assert [(vote.status, vote.text) for vote in silent.votes] == [("nothing_to_judge", "")] * 3
    assert len(engine.bodies) == 2


def test_nothing_at_all_needs_no_engine() -> None:
    answer = judged(None, {"items": [{"prompt": "p", "response": []}]})  # type: ignore[arg-type]

    assert (answer.data[0].failure_kind, answer.judge_version) == ("nothing_to_judge", "unknown")


def test_an_empty_answer_is_an_answer() -> None:
    assert judged(Engine(good_is_better), body("")).data[0].score == 2


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("/pairwise", [{"prompt": "p", "a": _SILENT, "b": "y"}, {"prompt": "p", "a": "x", "b": "y"}]),
        ("/meta", [{"prompt": "p", "response": [], "judgment_a": "x", "judgment_b": "y"}]),
        ("/rank", [{"prompt": "p", "candidates": ["x", None]}]),
    ],
)
def test_comparisons(path: str, items: list[dict[str, Any]]) -> None:
    engine = Engine(lambda sent: completion(*["Winner: A"] * sent["n"]))

    first, *others = post(engine, {"items": items}, f"/v1/judge{path}").json()["data"]

    assert (first["status"], first["failure_kind"]) == ("unscored", "nothing_to_judge")
    assert [other["status"] for other in others] == ["ok"] * len(others)
    assert len(engine.bodies) == 2 * len(others)


def test_a_pointwise_ranking_leaves_a_silent_candidate_out() -> None:
    request = {"rubric": "countdown", "prompt": "p", "candidates": ["7 + 3", [], "7 * 3 = 21 ; 21 + 12 = 33"]}

    (ranked,) = post(Engine(good_is_better), request, "/v1/judge/rank").json()["data"]

    assert (ranked["order"], ranked["scores"]) == ([2, 0], [2, None, 5])


def test_messages_are_judged_as_clients_dump_them() -> None:
    engine = Engine(good_is_better)
    nulls = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "tool_calls"))
    turns = [{"role": "user", "content": "hi"}], [{"role": "assistant", "content": "7 + 3 = 10", **nulls}]

    answer = post(engine, {"rubric": "countdown", "items": [{"prompt": turns[0], "response": turns[1]}]})

    assert answer.status_code == 200
    assert content(engine.bodies[0]).endswith("Answer : 7 + 3 = 10")


def test_an_image_is_named_with_its_place() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, part]}]

    answer = post(Engine(), {"items": [{"prompt": turns, "response": "a cat"}]})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (422, "items.0.prompt.0.content.1")
    assert "only text can be judged: write what matters of it as text, or leave it out" in error["message"]
