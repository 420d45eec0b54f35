"""Real clients against a judge that listens: LiteLLM, and the examples as their READMEs say to run them."""

import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import GOOD, PROMPT, Engine, good_is_better, unreadable
from tests.support.listening import listening
from tests.support.places import ROOT


@pytest.fixture(scope="module")
def judge_url() -> Iterator[str]:
    """A judge that finds the good answer worth 5 and others worth 2."""
    settings = JudgeSettings(generator_url="http://engine", redis_url="redis://127.0.0.1:9/0")
    app = create_app(settings, engine_transport=httpx.ASGITransport(Engine(good_is_better).app))
    with listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def litellm() -> Any:
    """LiteLLM, whose import and calls warn of what is not ours to mend."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

    return litellm


@pytest.mark.filterwarnings("ignore:Item .*ReadOnly:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.parametrize("provider", ["hosted_vllm", "jina_ai", "cohere"])
def test_litellm_reranks(litellm: Any, judge_url: str, provider: str) -> None:
    ranked = litellm.rerank(
        model=f"{provider}/countdown",
        query=PROMPT,
        documents=["7 + 3", GOOD],
        top_n=1,
        return_documents=True,
        api_base=judge_url,
        api_key="any",
    )

    (best,) = ranked["results"]
    assert (best["index"], best["relevance_score"], best["document"]) == (1, 1.0, {"text": GOOD})


@pytest.mark.filterwarnings("ignore:Item .*ReadOnly:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm")
def test_litellm_sees_an_error_where_there_is_no_score(litellm: Any) -> None:
    app = create_app(
        JudgeSettings(generator_url="http://engine", redis_url="redis://127.0.0.1:9/0"),
        engine_transport=httpx.ASGITransport(Engine(unreadable).app),
    )
    errors = (litellm.exceptions.APIError, litellm.exceptions.BadRequestError)
    with listening(app) as url, pytest.raises(errors, match="cannot say so") as raised:
        litellm.rerank(model="hosted_vllm/countdown", query=PROMPT, documents=["x"], api_base=url, api_key="any")

    assert raised.value.status_code in (400, 422)


def test_verls_example_is_found_as_verl_loads_it(judge_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", judge_url)
    spec = importlib.util.spec_from_file_location("custom_module", ROOT / "examples" / "judge_from_verl" / "reward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "custom_module", module)
    spec.loader.exec_module(module)

    assert pickle.loads(pickle.dumps(module.compute_score)) is module.compute_score  # noqa: S301
    sent = {"data_source": "countdown", "solution_str": GOOD, "ground_truth": "33", "extra_info": {"prompt": PROMPT}}
    with module.client:
        assert module.compute_score(**sent) == 5.0
        with pytest.raises(ValueError, match=r"extra_info\['prompt'\] is missing, it has index"):
            module.compute_score(**{**sent, "extra_info": {"index": 0}})
        assert module.compute_score(reward_router_address="x", **sent) == 5.0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh examples/judge_from_curl/judge.sh", '"relevance_score": 1.0'),
        ("python -m examples.judge_from_python.judge", "right: 5.00 (votes: 5, 5, 5, 5, 5)\nwrong: 2.00"),
        ("python -m examples.judge_from_python.judge", "best first: right, wrong"),
        ("python -m examples.judge_from_trl.reward", "[5.0, 2.0]"),
        ("python -m examples.judge_from_openrlhf.reward", "5.00  1.00  7 * 3"),
        ("python -m examples.judge_from_verl.reward", "5.00  7 * 3 = 21 ; 21 + 12 = 33\n2.00"),
        ("python -m examples.judge_from_litellm.rerank", "1.00  7 * 3 = 21 ; 21 + 12 = 33\n0.40"),
    ],
)
def test_an_example_runs_as_written(judge_url: str, command: str, words: str) -> None:
    folder = next(part for part in command.replace(".", "/").split("/") if part.startswith("judge_from_"))
    assert command in (ROOT / "examples" / folder / "README.md").read_text()
    program, *rest = command.split()

    ended = subprocess.run(
        [sys.executable if program == "python" else program, *rest],
        cwd=ROOT,
        env=os.environ | {"SELFREWARD_JUDGE_URL": judge_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert words in ended.stdout
