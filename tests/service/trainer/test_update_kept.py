"""A base model in bf16 and the paper's learning rate: what training does to it reaches the model that is served."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import read_manifest
from services.trainer.job import run
from services.trainer.training.checks import load_tokenizer
from services.trainer.training.models import load_model
from services.trainer.worker.progress import Progress
from tests.support.checkpoints import copy_of
from tests.support.places import M0
from tests.support.trainer_jobs import BASE, CANARY, dpo_job, publish_job, write_data

ROUNDS = 3
PAPERS = {"learning_rate": 1e-6, "epochs": 6.25}
"""25 steps at the learning rate of Yuan et al. 2024, a hundredth of the distance between neighbours in bf16."""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """A store with data and the base model in bf16."""
    folder = tmp_path / "base"
    folder.mkdir()
    copy_of(M0)(folder)
    load_model(M0, torch.bfloat16).save_pretrained(folder)
    store = ArtifactStore(str(tmp_path / "store"))
    write_data(store)
    _run(publish_job(init_from=str(folder)), store, tmp_path)
    return store


def _run(job: TrainJob, store: ArtifactStore, folder: Path) -> Progress:
    folder.mkdir(exist_ok=True)
    progress = Progress(folder / "progress.json", job.id)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(job, store, folder, progress)
    torch.set_num_threads(threads)
    return progress


def _margin(model: Any, tokenizer: Any) -> float:
    """How much likelier a right answer is than the pairs' rejected one, in nats, computed in float32."""
    model = model.float().eval()
    totals = []
    for answer in ("7 * 3 = 21 ; 21 + 12 = 33", "1 + 1 = 2 ; 2 + 1 = 3"):
        chat = [{"role": "user", "content": CANARY[0].content}, {"role": "assistant", "content": answer}]
        start = len(tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False))
        ids = torch.tensor([tokenizer.apply_chat_template(chat, return_dict=False)])
        with torch.inference_mode():
            logp = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
        totals.append(float(logp[start - 1 :].sum()))
    return totals[0] - totals[1]


def test_three_rounds_at_a_small_rate_reach_the_served_model(store: ArtifactStore, tmp_path: Path) -> None:
    names = [BASE]
    for number in range(2, 2 + ROUNDS):
        job = dpo_job(f"m{number}", PAPERS, init_from=names[-1])
        progress = _run(job, store, tmp_path / job.id)
        names.append(job.output)
        # The checkpoint is the float32 master, and is still to be served in bf16.
        folder = store.fetch(job.output)
        assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
        assert (folder / "config.json").read_bytes() == (store.fetch(BASE) / "config.json").read_bytes()
        served: Any = AutoModelForCausalLM.from_pretrained(folder)
        assert served.dtype == torch.bfloat16
        kept = read_manifest(folder)[0].update_kept
        assert kept == pytest.approx(1, abs=0.08)
        assert progress.status.metrics["update_kept"] == kept
    # What was trained is what the served weights do: the reward margin of the last master, from weights in bf16.
    tokenizer = load_tokenizer(store.fetch(BASE), CANARY)
    base, *_, last = names
    before = _margin(load_model(store.fetch(base), torch.bfloat16), tokenizer)
    trained = _margin(load_model(store.fetch(last), torch.float32), tokenizer) - before
    reached = _margin(load_model(store.fetch(last), torch.bfloat16), tokenizer) - before
    assert trained > 0.3
    assert reached == pytest.approx(trained, rel=0.4)


def test_adapters_reach_the_served_model(store: ArtifactStore, tmp_path: Path) -> None:
    job = dpo_job("lora", {"learning_rate": 1e-4, "lora": {"rank": 4, "alpha": 8}})
    _run(job, store, tmp_path / "lora")
    folder = store.fetch(job.output)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert read_manifest(folder)[0].update_kept == pytest.approx(1, abs=0.08)
