"""Chat templates with a default system prompt: what trains begins with the tokens that the engine is sent."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from trl.data_utils import _tokenize  # as DPOTrainer tokenises texts

from orchestrator.worker.search import request_fields
from selfreward.contracts.base import Message
from selfreward.contracts.reinforcement import RlHyper
from selfreward.contracts.rollouts import PreferencePair
from selfreward.pretrained.convert import convert
from selfreward.store.artifacts import ArtifactStore
from services.trainer.algorithms.ppo import question_order
from services.trainer.training.checks import JobRefused, load_tokenizer, render
from services.trainer.training.data import IGNORED, pair_ids, sft_rows
from tests.support.factories import pair
from tests.support.tiny_gguf import DEFAULT_SYSTEM, TEMPLATE, write_gguf

_TURNS = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
_NEXT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    "smollm2": TEMPLATE,
    "qwen2.5": "{% if messages[0]['role'] == 'system' %}<|im_start|>system\n{{ messages[0]['content'] }}<|im_end|>\n"
    "{% else %}<|im_start|>system\n" + DEFAULT_SYSTEM + "<|im_end|>\n{% endif %}{% for message in messages %}"
    "{% if not (message['role'] == 'system' and loop.first) %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}" + _NEXT,
}
CONVERSATIONS = {
    "one turn": [("user", "Use 7 3 12")],
    "several turns": [("user", "Use 7 3 12"), ("assistant", "7 + 3"), ("user", " and now?\n")],
    "own system prompt": [("system", "You count"), ("user", "Use 7 3 12")],
}
ANSWER = "7 + 3 = 10 ; 12"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_gguf(folder / "tiny.gguf")
    convert(folder / "tiny.gguf", folder / "model")
    return folder / "model"


@pytest.fixture(scope="module", params=TEMPLATES)
def folder(request: pytest.FixtureRequest, checkpoint: Path) -> Path:
    model = checkpoint.with_name(request.param)
    shutil.copytree(checkpoint, model)
    (model / "chat_template.jinja").write_text(TEMPLATES[request.param])
    return model


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder, [Message(role="user", content="hi")])


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Any:
    """The engine's part that makes tokens of a chat request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what vLLM imports
        from vllm.config import ModelConfig, VllmConfig
        from vllm.renderers.registry import renderer_from_config

        return renderer_from_config(VllmConfig(model_config=ModelConfig(model=str(folder))))


@pytest.fixture(params=CONVERSATIONS.values(), ids=list(CONVERSATIONS))
def prompt(request: pytest.FixtureRequest) -> list[Message]:
    return [Message.model_validate({"role": role, "content": content}) for role, content in request.param]


def sent(renderer: Any, messages: list[Message], **more: bool) -> list[int]:
    """The tokens that the engine makes of a chat request."""
    from vllm.renderers.params import ChatParams

    fields = {"add_generation_prompt": True, "tokenize": True, **more}
    turns = [message.model_dump() for message in messages]
    ids: list[int] = renderer.render_messages(turns, ChatParams(chat_template_kwargs=fields))[1]["prompt_token_ids"]
    return ids


def answers(prompt: list[Message], **fields: Any) -> PreferencePair:
    sides = {
        "chosen": [Message(role="assistant", content=ANSWER)],
        "rejected": [Message(role="assistant", content="no")],
    }
    return pair(prompt=prompt, **{**sides, **fields})


def test_what_trains_begins_with_what_the_engine_is_sent(
    renderer: Any, tokenizer: Any, prompt: list[Message], store_root: str
) -> None:
    asked = sent(renderer, prompt)
    default = DEFAULT_SYSTEM in tokenizer.decode(asked)
    assert default == (prompt[0].role != "system")
    assert render(tokenizer, prompt, answer_next=True) == asked

    turns = [message.model_dump() for message in prompt]
    store = ArtifactStore(store_root)
    store.write_jsonl("rows.jsonl", [{"prompt": turns, "completion": [{"role": "assistant", "content": ANSWER}]}])
    row = sft_rows(store, ["rows.jsonl"], tokenizer, 512).rows[0]
    learnt = row["labels"][len(asked) :]
    assert row["input_ids"][: len(asked)] == asked
    assert row["labels"][: len(asked)] == [IGNORED] * len(asked)
    assert tokenizer.decode(learnt) == f"{ANSWER}<|im_end|>\n"

    ids = pair_ids(tokenizer, answers(prompt))
    assert (ids["prompt_ids"], ids["chosen_ids"]) == (asked, learnt)
    assert _tokenize(tokenizer, turns, add_generation_prompt=True)["input_ids"] == asked
    order = question_order([{"prompt": turns, "prompt_id": "p"}], RlHyper(group=2, batch_size=2), tokenizer, seed=0)
    assert order[0]["prompt_ids"] == asked


def test_a_step_begins_with_what_the_engine_is_sent(renderer: Any, tokenizer: Any, prompt: list[Message]) -> None:
    begun = Message(role="assistant", content="7 + 3 = 10 ;")
    fields = request_fields(begun.content, " ;")
    continued = {name: fields[name] for name in ("continue_final_message", "add_generation_prompt")}
    step = answers([*prompt, begun], chosen=[Message(role="assistant", content=" 12")], separator=" ;")
    ids = pair_ids(tokenizer, step)
    assert ids["prompt_ids"] == sent(renderer, [*prompt, begun], **continued)
    assert tokenizer.decode(ids["chosen_ids"]) == " 12<|im_end|>\n"


def test_a_template_that_rewrites_the_prompt_once_it_is_answered_is_refused(checkpoint: Path) -> None:
    model = checkpoint.with_name("rewriting")
    shutil.copytree(checkpoint, model)
    (model / "chat_template.jinja").write_text(
        "{% for message in messages %}" + _TURNS + _NEXT.replace("assistant\n", "assistant\n<think>\n")
    )
    with pytest.raises(JobRefused, match=r"writes a prompt in another way once its answer follows: .*<think>"):
        load_tokenizer(model, [Message(role="user", content="hi")])
