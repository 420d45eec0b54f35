"""A job from spec to published checkpoint, on the demo's base model, in this process."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from services.trainer.job import build_trainer, run
from services.trainer.training.canary import make_canary
from services.trainer.training.checks import JobRefused, load_tokenizer
from services.trainer.training.models import load_model
from services.trainer.worker.progress import Progress, read_progress
from tests.support.places import M0
from tests.support.trainer_jobs import BASE, CANARY, dpo_job, publish_job, sft_job, write_data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store with data and the published base model."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("store")))
    write_data(store)
    _run(publish_job(), store, tmp_path_factory.mktemp("publish"))
    return store


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, since the cores are shared; no telemetry."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _run(job: TrainJob, store: ArtifactStore, folder: Path) -> str:
    return run(job, store, folder, Progress(folder / "progress.json", job.id))


def _weights(store: ArtifactStore, name: str) -> dict[str, torch.Tensor]:
    return load_file(store.fetch(name) / "model.safetensors")


def _check_published(store: ArtifactStore, name: str, digest: str) -> None:
    folder = store.fetch(name)
    manifest, found = verify_folder(folder)
    assert found == digest
    assert {path.suffix for path in folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / file).read_bytes() == (M0 / file).read_bytes()
    assert manifest.canary == make_canary(
        load_model(folder, torch.float32), load_tokenizer(folder, CANARY), CANARY, torch.float32
    )


def test_publishing_a_folder_keeps_it_byte_for_byte(store: ArtifactStore, tmp_path: Path) -> None:
    digest = _run(publish_job(), store, tmp_path)
    _check_published(store, BASE, digest)
    manifest = verify_folder(store.fetch(BASE))[0]
    assert (store.fetch(BASE) / "model.safetensors").read_bytes() == (M0 / "model.safetensors").read_bytes()
    assert (manifest.lineage.method, manifest.lineage.parent, manifest.lineage.stage) == ("base", None, "M0")


def test_sft_trains_and_publishes_once(store: ArtifactStore, tmp_path: Path) -> None:
    digest = _run(sft_job(recipe_hash="abc", seed=3), store, tmp_path)
    _check_published(store, "runs/t/weights/sft", digest)
    lineage = verify_folder(store.fetch("runs/t/weights/sft"))[0].lineage
    assert (lineage.method, lineage.parent, lineage.recipe_hash, lineage.seed) == ("sft", BASE, "abc", 3)
    assert lineage.parent_digest == verify_folder(store.fetch(BASE))[1]
    status = read_progress(tmp_path / "progress.json")
    assert status is not None
    assert (status.step, status.total_steps, status.metrics["rows"]) == (8, 8, 64)
    assert status.metrics["update_kept"] == pytest.approx(1)
    assert not (tmp_path / "checkpoints").exists()
    assert _run(sft_job(recipe_hash="abc", seed=3), store, tmp_path) == digest
    before, after = _weights(store, BASE), _weights(store, "runs/t/weights/sft")
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_sft_loss_is_the_completions_mean_nll(store: ArtifactStore, tmp_path: Path) -> None:
    job = sft_job()
    parent = store.fetch(BASE)
    tokenizer = load_tokenizer(parent, CANARY)
    trainer = build_trainer(job, store, parent, tokenizer, tmp_path, Progress(tmp_path / "p.json", job.id))
    batch = next(iter(trainer.get_train_dataloader()))
    nll, tokens = 0.0, 0
    model = load_model(parent, torch.float32)
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        length = int((ids != tokenizer.pad_token_id).sum())
        logp = model(ids[None, :length]).logits[0].detach().log_softmax(-1)
        answer = [place for place in range(1, length) if labels[place] != -100]
        assert tokenizer.decode(ids[answer[0] - 1]) == "<|assistant|>"
        nll -= sum(float(logp[place - 1, ids[place]]) for place in answer)
        tokens += len(answer)
    with torch.no_grad():
        assert float(trainer.compute_loss(trainer.model, dict(batch))) == pytest.approx(nll / tokens, rel=1e-5)


def test_dpo_starts_at_ln2_plus_the_weighted_sft_term(store: ArtifactStore, tmp_path: Path) -> None:
    job = dpo_job(hyper={"sft_weight": 0.5})
    parent = store.fetch(BASE)
    tokenizer = load_tokenizer(parent, CANARY)
    trainer = build_trainer(job, store, parent, tokenizer, tmp_path, Progress(tmp_path / "p.json", job.id))
    batch = next(iter(trainer.get_train_dataloader()))
    half = len(batch["input_ids"]) // 2
    ids, mask = batch["input_ids"][:half], batch["completion_mask"][:half, 1:].bool()
    with torch.no_grad():
        logits = load_model(parent, torch.float32)(input_ids=ids, attention_mask=batch["attention_mask"][:half]).logits
        logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        loss = float(trainer.compute_loss(trainer.model, dict(batch)))
    assert loss == pytest.approx(math.log(2) - 0.5 * float(logp[mask].mean()), rel=1e-5)


def test_dpo_prefers_the_chosen(store: ArtifactStore, tmp_path: Path) -> None:
    digest = _run(dpo_job(), store, tmp_path)
    _check_published(store, "runs/t/weights/dpo", digest)
    status = read_progress(tmp_path / "progress.json")
    assert status is not None
    assert status.metrics["rewards/margins"] > 0
    assert status.metrics["rewards/accuracies"] > 0.5


def test_dpo_takes_another_reference_from_its_own_folder(store: ArtifactStore, tmp_path: Path) -> None:
    _run(sft_job(recipe_hash="abc", seed=3), store, tmp_path)
    job = dpo_job(init_from="runs/t/weights/sft", reference=BASE)
    parent = store.fetch(job.init_from)
    trainer = build_trainer(
        job, store, parent, load_tokenizer(parent, CANARY), tmp_path, Progress(tmp_path / "p.json", job.id)
    )
    expected = _weights(store, BASE)["model.embed_tokens.weight"]
    assert torch.equal(trainer.ref_model.get_input_embeddings().weight, expected)
    assert not torch.equal(trainer.model.get_input_embeddings().weight, expected)


@pytest.mark.parametrize("make", [sft_job, dpo_job])
def test_lora_is_merged_into_an_ordinary_checkpoint(make: Any, store: ArtifactStore, tmp_path: Path) -> None:
    job = make(f"lora-{make.__name__[:3]}", {"lora": {"rank": 4, "alpha": 8}})
    _check_published(store, job.output, _run(job, store, tmp_path))
    before, after = _weights(store, BASE), _weights(store, job.output)
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert "model.embed_tokens.weight" not in changed


def test_resumes_from_the_last_complete_checkpoint_only(store: ArtifactStore, tmp_path: Path) -> None:
    whole = sft_job("whole")
    _run(whole, store, tmp_path)
    checkpoints = tmp_path / "checkpoints"
    parent = store.fetch(BASE)
    progress = Progress(tmp_path / "progress.json", whole.id)
    build_trainer(whole, store, parent, load_tokenizer(parent, CANARY), checkpoints, progress).train()
    shutil.rmtree(checkpoints / "checkpoint-8")
    torn = checkpoints / "checkpoint-7"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    resumed = sft_job("resumed")
    _run(resumed, store, tmp_path)
    files = [verify_folder(store.fetch(job.output))[0].files["model.safetensors"] for job in (whole, resumed)]
    assert files[0] == files[1]


def test_diverged_weights_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match=r"training diverged, .* is not finite: lower learning_rate"):
        _run(sft_job("diverged", {"learning_rate": 1.0, "weight_decay": 1e38}), store, tmp_path)
    assert not store.exists("runs/t/weights/diverged")


def test_an_unknown_starting_point_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match=r"init_from='runs/t/weights/none' is not an artifact to start from"):
        _run(sft_job("lost", init_from="runs/t/weights/none"), store, tmp_path)
    with pytest.raises(JobRefused, match=r"init_from='/nowhere' is neither a folder nor an artifact"):
        _run(publish_job(init_from="/nowhere", output="x"), store, tmp_path)


def test_another_world_size_is_refused(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobRefused, match=r"WORLD_SIZE=1 but the job asks for world_size=2: .*--nproc-per-node 2"):
        _run(sft_job("two", world_size=2), store, tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(JobRefused, match="WORLD_SIZE=4 but the job asks for world_size=1"):
        _run(sft_job("two"), store, tmp_path)


def test_batches_that_do_not_divide_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="micro_batch_size=3 does not divide the 8 rows"):
        _run(sft_job("odd", {"micro_batch_size": 3}), store, tmp_path)


def _broken(tmp_path: Path) -> Path:
    return Path(shutil.copytree(M0, tmp_path / "broken"))


def test_a_template_without_end_of_turn_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _broken(tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ '<|eos|>' }}", ""))
    with pytest.raises(JobRefused, match=r"emits no stop token \('<\|eos\|>'\)"):
        _run(publish_job(init_from=str(folder), output="x"), store, tmp_path)
    template.unlink()
    with pytest.raises(JobRefused, match="has no chat template"):
        _run(publish_job(init_from=str(folder), output="x"), store, tmp_path)


def test_an_unsavable_generation_config_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _broken(tmp_path)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "do_sample": False}))
    with pytest.raises(JobRefused, match=r"generation_config\.json cannot be saved again(.|\n)*do_sample=true"):
        _run(publish_job(init_from=str(folder), output="x"), store, tmp_path)


def test_incomplete_weights_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _broken(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(JobRefused, match=r"missing keys in the weights: model\.layers\.1\.mlp\.up_proj"):
        _run(publish_job(init_from=str(folder), output="x"), store, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(JobRefused, match=r"has no \*\.safetensors"):
        _run(publish_job(init_from=str(folder), output="x"), store, tmp_path)
    assert not store.exists("x")
