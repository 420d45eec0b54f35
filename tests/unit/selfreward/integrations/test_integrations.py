"""Each integration is called as its tool calls it, against a judge that listens."""

import asyncio
import inspect
import math
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from starlette.responses import Response

from selfreward import AsyncJudgeClient, JudgeClient, ServiceError
from selfreward.integrations.inspect_ai import inspect_score
from selfreward.integrations.openevals import async_openevals_evaluator, openevals_evaluator
from selfreward.integrations.prometheus_eval import PrometheusJudge
from selfreward.integrations.trl import async_trl_reward, trl_reward
from selfreward.integrations.verl import async_verl_score, verl_score
from tests.support.judge_engine import Engine, by_length, completion
from tests.support.listening import listening_judge

CALL = 'Tool call: multiply({"a": 12, "b": 3})'
TOOLS: list[Any] = [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "multiply", "arguments": {"a": 12, "b": 3}}}],
    },
    {"role": "tool", "name": "multiply", "content": "36"},
    {"role": "assistant", "content": "It is 36."},
]


def by_words(sent: dict[str, Any]) -> Response:
    """The score is the number of words of the answer, at most 5; `silent` answers get no verdict."""
    answer = sent["messages"][0]["content"].rsplit("Answer : ", 1)[1]
    if "silent" in answer:
        return completion(*["I see no verdict"] * sent["n"])
    return completion(*[f"{answer} it is. Score: {min(len(answer.split()), 5)}"] * sent["n"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(by_words)


def test_trl_standard_and_conversational(client: JudgeClient) -> None:
    reward = trl_reward(client, rubric="countdown", votes=2)
    extra: dict[str, Any] = {"completion_ids": [[1], [2], [3]], "trainer_state": object(), "log_metric": print}
    prompts = [[{"role": "user", "content": "p"}]] * 3
    completions = [[{"role": "assistant", "content": text}] for text in ("a b", "a silent one", "a b c")]

    assert reward(prompts=["p", "p", "p"], completions=["a", "silent", "a b c d"], **extra) == [1, None, 4]
    assert reward(prompts=prompts, completions=completions, **extra) == [2, None, 3]
    assert reward.__name__ == "judge_reward"


@pytest.mark.parametrize(
    ("completion_turns", "judged", "reward"),
    [
        (TOOLS, f"Assistant: {CALL}\n\nTool: multiply: 36\n\nAssistant: It is 36.", 5),
        (TOOLS[:1], CALL, 5),
        ([{"role": "assistant", "content": None}], None, None),
        ([], None, None),
        ([{"role": "assistant", "content": [{"type": "image"}]}], None, None),
    ],
)
def test_a_sample_with_tools_or_without_text_ends_no_training(
    client: JudgeClient, engine: Engine, completion_turns: Any, judged: str | None, reward: float | None
) -> None:
    before = len(engine.bodies)
    rewards = trl_reward(client, rubric="countdown")(prompts=["p", "p"], completions=["a b", completion_turns])
    of_verl = verl_score(client, rubric="countdown")("d", completion_turns, None, {"question": "p"})

    assert rewards == [2, reward]
    assert of_verl == reward or (reward is None and math.isnan(of_verl))
    seen = [sent["messages"][0]["content"].rsplit("Answer : ", 1)[1] for sent in engine.bodies[before:]]
    assert sorted(seen) == sorted(["a b", *([judged] * 2 if judged else [])])


def test_a_sample_that_is_no_text_is_named_once(client: JudgeClient, caplog: pytest.LogCaptureFixture) -> None:
    reward = trl_reward(client, rubric="countdown")
    photo = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, {"type": "image", "image": "x"}]}]

    assert reward(prompts=[photo] * 3, completions=["a", "b", "c"]) == [None] * 3
    assert [record.getMessage() for record in caplog.records if "no score for samples" in record.getMessage()] == [
        "no score for samples with prompts[0].content[1] = {'type': 'image', 'image': 'x'}: only text can be judged: "
        "write what matters of it as text, or leave it out"
    ]


def test_trl_async(url: str) -> None:
    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            reward = async_trl_reward(client, rubric="countdown")
            assert inspect.iscoroutinefunction(reward)
            assert await reward(prompts=["p"] * 200, completions=["a b"] * 199 + ["silent"]) == [2] * 199 + [None]

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def exact(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgeClient]:
    """A client of a judge that has a rubric `exact`, which compares with a reference."""
    folder = tmp_path_factory.mktemp("rubrics")
    (folder / "exact").mkdir()
    (folder / "exact" / "rubric.toml").write_text('title = "Exact"\n')
    (folder / "exact" / "template.txt").write_text("{reference} | {prompt} | Answer : {response}")
    with listening_judge(engine, judge_rubrics=folder) as url, JudgeClient(url) as client:
        yield client


def test_trl_reference_column(exact: JudgeClient, engine: Engine) -> None:
    reward = trl_reward(exact, reference="solution", rubric="exact")

    assert reward(prompts=["p"], completions=["a"], solution=[42]) == [1]
    assert engine.bodies[-1]["messages"][0]["content"] == "42 | p | Answer : a"
    with pytest.raises(ServiceError, match=r"items\.0\.reference = '42' would not be read"):
        trl_reward(exact, reference="solution", rubric="countdown")(prompts=["p"], completions=["a"], solution=[42])
    with pytest.raises(ValueError, match=r"reference='solution' is not a column of the dataset: use one of answer"):
        reward(prompts=["p"], completions=["a"], answer=["42"])


def test_a_tools_reference_goes_along_where_it_is_wanted(exact: JudgeClient, engine: Engine) -> None:
    score = verl_score(exact, reference=True, rubric="exact")
    evaluate = openevals_evaluator(exact, reference=True, rubric="exact")

    assert score("gsm8k", "a b", "42", {"question": "p"}) == 2
    assert evaluate(inputs="p", outputs="a", reference_outputs={"is": 42})["score"] == 1
    seen = [sent["messages"][0]["content"] for sent in engine.bodies[-2:]]
    assert seen == ["42 | p | Answer : a b", '{"is": 42} | p | Answer : a']
    with pytest.raises(ServiceError, match=r"items\.0\.reference is missing"):
        verl_score(exact, rubric="exact")("gsm8k", "a", "42", {"question": "p"})


def test_verl(client: JudgeClient, caplog: pytest.LogCaptureFixture) -> None:
    compute_score = verl_score(client, rubric="countdown")
    row: dict[str, Any] = {"data_source": "gsm8k", "ground_truth": "42", "extra_info": {"question": "p", "index": 0}}

    assert compute_score(solution_str="a b c", **row) == 3.0
    assert compute_score(solution_str="a", reward_router_address="x", reward_model_tokenizer=None, **row) == 1.0
    assert math.isnan(compute_score(solution_str="silent", **row))
    assert "no score for an answer from data_source='gsm8k': 0 of 3 votes valid" in caplog.text
    assert verl_score(client, unscored=0.5, rubric="countdown")(solution_str="silent", **row) == 0.5
    with pytest.raises(ValueError, match=r"extra_info\['question'\] is missing, it has index: put the prompt there"):
        compute_score("gsm8k", "a", "42", {"index": 0})


def test_verl_async(url: str) -> None:
    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            compute_score = async_verl_score(client, prompt_key="prompt", rubric="countdown")
            assert inspect.iscoroutinefunction(compute_score)
            scores = await asyncio.gather(*(compute_score("d", "a " * n, None, {"prompt": "p"}) for n in range(1, 6)))
            assert scores == [1, 2, 3, 4, 5]

    asyncio.run(scenario())


def test_openevals(client: JudgeClient, url: str) -> None:
    evaluator = openevals_evaluator(client, key="quality", rubric="countdown", votes=2)
    turns = {"messages": [{"role": "assistant", "content": "a b"}]}

    result = evaluator(inputs={"question": "p"}, outputs=turns, reference_outputs={"answer": 1}, example_id="x")
    assert (result["key"], result["score"], result["comment"]) == ("quality", 2, "a b it is. Score: 2")
    assert result["metadata"]["votes"] == [2, 2]
    missing = evaluator(inputs="p", outputs="silent")
    assert (missing["score"], missing["metadata"]["failure_kind"]) == (None, "unparsed")

    async def scenario() -> None:
        async with AsyncJudgeClient(url) as other:
            result = await async_openevals_evaluator(other, rubric="countdown")(outputs="a", inputs="p")
            assert (result["key"], result["score"]) == ("selfreward", 1)

    asyncio.run(scenario())


def test_inspect_ai(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package pins what this project pins otherwise, so `Score` is a stand-in with its fields and `unscored`."""

    class Score(SimpleNamespace):
        @classmethod
        def unscored(cls, *, answer: str, explanation: str, metadata: dict[str, Any]) -> "Score":
            return cls(value=float("nan"), answer=answer, explanation=explanation, metadata=metadata)

    package, module = ModuleType("inspect_ai"), ModuleType("inspect_ai.scorer")
    module.Score = Score  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inspect_ai", package)
    monkeypatch.setitem(sys.modules, "inspect_ai.scorer", module)

    def state(completion: str) -> Any:
        return SimpleNamespace(input_text="p", output=SimpleNamespace(completion=completion))

    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            score = inspect_score(client, rubric="countdown")
            assert inspect.iscoroutinefunction(score)
            result = await score(state("a b"), SimpleNamespace(text="42"))
            assert (result.value, result.answer, result.explanation) == (2, "a b", "a b it is. Score: 2")
            with pytest.raises(ServiceError, match=r"items\.0\.reference = '42' would not be read"):
                await inspect_score(client, reference=True, rubric="countdown")(state("a"), SimpleNamespace(text="42"))
            missing = await score(state("silent"), SimpleNamespace(text=""))
            assert missing.value != missing.value
            assert missing.metadata["status"] == "unscored"

    asyncio.run(scenario())


def test_prometheus_absolute(client: JudgeClient) -> None:
    judge = PrometheusJudge(client)

    assert judge.single_absolute_grade("p", "a b", "countdown") == ("a b it is. Score: 2", 2)
    assert judge.single_absolute_grade("p", "silent", "countdown")[1] is None
    with pytest.raises(ServiceError, match=r"items\.0\.reference = 'ref' would not be read"):
        judge.single_absolute_grade("p", "a", "countdown", "ref")
    feedbacks, scores = judge.absolute_grade(
        instructions=["p", "q"],
        responses=["a", "a b"],
        rubric=["countdown", "countdown"],
        reference_answers=[None, None],
        params={"n": 2, "temperature": 0.5, "max_tokens": 9},
    )
    assert (len(feedbacks), scores) == (2, [1, 2])
    with pytest.raises(ValueError, match=r"responses has 1 entries for 2 instructions"):
        judge.absolute_grade(instructions=["p", "q"], responses=["a"], rubric="countdown")
    with pytest.raises(ValueError, match=r"params has best_of: only n, temperature"):
        judge.single_absolute_grade("p", "a", "countdown", params={"best_of": 2})


def test_prometheus_relative() -> None:
    engine = Engine(by_length)
    with listening_judge(engine) as url, JudgeClient(url) as client:
        judge = PrometheusJudge(client)
        pairs = [("xx", "x"), ("x", "xx"), ("x", "x")]
        grades = [judge.single_relative_grade("p", a, b, "pairwise") for a, b in pairs]
        with pytest.raises(ServiceError, match=r"items\.0\.reference = 'the truth' would not be read"):
            judge.single_relative_grade("p", "x", "y", "pairwise", "the truth")
        assert judge.single_relative_grade("p", "x", "xx", "pairwise_reference", "the truth") == ("Winner: B", "B")

    assert grades == [("Winner: A", "A"), ("Winner: B", "B"), ("Winner: tie", None)]
    assert "<reference>\nthe truth\n</reference>" in engine.bodies[-1]["messages"][0]["content"]
