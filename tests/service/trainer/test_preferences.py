"""Losses and labels of preference training, through TRL on the demo's base model."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from selfreward.contracts.training import DpoHyper, TrainJob
from selfreward.loop import paths
from selfreward.loop.export import export_pairs
from selfreward.store.artifacts import ArtifactStore
from services.trainer.job import build_trainer, run
from services.trainer.training.checks import JobRefused, load_tokenizer
from services.trainer.training.models import load_model
from services.trainer.worker.progress import Progress
from tests.support.places import M0
from tests.support.trainer_jobs import CANARY, PAIRS, dpo_job, publish_job, write_data

BETA = 0.1
AT_THE_REFERENCE = {
    "sigmoid": math.log(2),
    "robust": math.log(2),
    "ipo": (1 / (2 * BETA)) ** 2,
    "sppo_hard": 2 * (0.5 / BETA) ** 2,
    "apo_zero": 1.0,
}
"""What each loss is, by its formula, while the policy is its reference."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store with the published base model and the same pairs under several labels."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("store")))
    write_data(store, rows=32)  # two steps
    rows = list(store.read_jsonl(PAIRS))
    for weight in (0.2, 0.5, 0.9, 1.0):
        store.write_jsonl(pairs(weight), ({**row, "weight": weight} for row in rows))
    folder = tmp_path_factory.mktemp("publish")
    run(publish_job(), store, folder, Progress(folder / "progress.json", "m0"))
    return store


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, since the cores are shared; no telemetry."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pairs(weight: float) -> str:
    return f"runs/t/pairs/weight-{weight}.jsonl"


def trainer_of(job: TrainJob, store: ArtifactStore, folder: Path) -> Any:
    parent = store.fetch(job.init_from)
    tokenizer = load_tokenizer(parent, CANARY)
    return build_trainer(job, store, parent, tokenizer, folder / job.id, Progress(folder / "p.json", job.id))


def trained(job: TrainJob, store: ArtifactStore, folder: Path) -> Any:
    trainer = trainer_of(job, store, folder)
    trainer.args.logging_steps = trainer.state.logging_steps = 1
    trainer.train()
    return trainer


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("loss", AT_THE_REFERENCE)
def test_each_loss_starts_where_its_formula_says_and_trains(loss: str, store: ArtifactStore, tmp_path: Path) -> None:
    smoothing = {"label_smoothing": 0.1} if loss == "robust" else {}
    job = dpo_job(loss, {"loss": loss, **smoothing})
    trainer = trained(job, store, tmp_path)
    seen = losses(trainer)
    assert len(seen) == 2
    assert seen[0] == pytest.approx(AT_THE_REFERENCE[loss], rel=1e-4)
    assert seen[-1] < seen[0]


def test_ld_alpha_weighs_the_longer_answers_rest(store: ArtifactStore, tmp_path: Path) -> None:
    longer = [{"role": "assistant", "content": "1 + 1 = 2 ; 2 + 1 = 3 ; 3 + 1 = 4 ; 4 + 1 = 5"}]
    store.write_jsonl("runs/t/pairs/uneven.jsonl", ({**row, "rejected": longer} for row in store.read_jsonl(PAIRS)))
    first = {}
    for name, alpha in (("all", None), ("none", 0.0)):
        hyper = {"ld_alpha": alpha, "loss": "robust", "label_smoothing": 0.1, "sft_weight": 0.5}
        job = dpo_job(f"ld-{name}", hyper, datasets=["runs/t/pairs/uneven.jsonl"])
        first[name] = trained(job, store, tmp_path).state.log_history[0]
    assert first["none"]["logps/chosen"] == pytest.approx(first["all"]["logps/chosen"], rel=1e-4)
    assert first["none"]["logps/rejected"] > first["all"]["logps/rejected"] + 1


def test_steps_train_as_they_are_and_whole_answers_among_them_as_trl_trains_them(
    store: ArtifactStore, tmp_path: Path
) -> None:
    rows = list(store.read_jsonl(PAIRS))
    store.write_jsonl("runs/t/pairs/ends.jsonl", ({**row, "separator": " ;"} for row in rows))
    stock = trained(dpo_job("answers", {"micro_batch_size": 8}), store, tmp_path)
    ends = trained(dpo_job("ends", {"micro_batch_size": 8}, datasets=["runs/t/pairs/ends.jsonl"]), store, tmp_path)
    assert type(stock) is not type(ends)
    assert losses(stock) == losses(ends)

    def begun(row: dict[str, Any]) -> dict[str, Any]:
        first, last = row["chosen"][0]["content"].split(" ; ")
        prompt = [*row["prompt"], {"role": "assistant", "content": f"{first} ;"}]
        sides = {"chosen": f" {last}", "rejected": " 2 + 1 = 3 ;"}
        texts = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
        return {**row, **texts, "prompt": prompt, "separator": " ;"}

    store.write_jsonl("runs/t/pairs/begun.jsonl", map(begun, rows))
    job = dpo_job("begun", {"learning_rate": 1e-3}, datasets=["runs/t/pairs/begun.jsonl"])
    steps = trained(job, store, tmp_path)
    asked, chosen, rejected = (
        steps.processing_class.decode(steps.train_dataset[0][f"{name}_ids"])
        for name in ("prompt", "chosen", "rejected")
    )
    assert asked.endswith(" ;")
    assert chosen.endswith("<|eos|>")
    assert rejected == "2 + 1 = 3 ;"
    assert losses(steps)[0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses(steps)[-1] < losses(steps)[0]


def test_certain_labels_train_as_trl_does_without_any_label(store: ArtifactStore, tmp_path: Path) -> None:
    hyper = {"sft_weight": 0.3, "micro_batch_size": 8}
    stock = trained(dpo_job("hard", hyper), store, tmp_path)
    soft = trained(dpo_job("soft", hyper, datasets=[pairs(1.0)]), store, tmp_path)
    assert type(stock) is not type(soft)
    assert losses(stock) == losses(soft)
    ours, theirs = (dict(trainer.model.named_parameters()) for trainer in (soft, stock))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_label_pulls_as_far_as_it_is_from_even(store: ArtifactStore, tmp_path: Path) -> None:
    """At the reference the gradient of the loss by the margin is one half less the label."""
    pull = {}
    for weight in (0.2, 0.5, 1.0):
        trainer = trained(dpo_job(f"w{weight}", datasets=[pairs(weight)]), store, tmp_path)
        first, second = (entry for entry in trainer.state.log_history if "loss" in entry)
        pull[weight] = first["grad_norm"] * (1 if second["rewards/margins"] > 0 else -1)
        assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert pull[1.0] > 0
    assert pull[0.5] == pytest.approx(0, abs=1e-4 * pull[1.0])
    assert pull[0.2] == pytest.approx(-0.6 * pull[1.0], rel=1e-3)


def test_soft_labels_train_adapters_against_the_model_without_them(store: ArtifactStore, tmp_path: Path) -> None:
    hyper = {"lora": {"rank": 4, "alpha": 8}, "learning_rate": 1e-2}
    trainer = trained(dpo_job("lora-soft", hyper, datasets=[pairs(0.9)]), store, tmp_path)
    assert trainer.ref_model is None
    assert losses(trainer)[0] == pytest.approx(math.log(2), rel=1e-4)
    assert trainer.state.log_history[-2]["rewards/margins"] > 0.01


def test_consistency_draws_the_model_to_the_judge_and_reports_agreement(store: ArtifactStore, tmp_path: Path) -> None:
    job = dpo_job("consistent", {"learning_rate": 1e-3}, datasets=[pairs(0.9)], consistency={"weight": 1.0})
    first, second = (entry for entry in trained(job, store, tmp_path).state.log_history if "loss" in entry)
    # At first the model is its reference and prefers neither answer.
    assert (first["rewards/margins"], first["consistency/agreement"]) == (0, 0)
    assert second["rewards/margins"] > 0
    assert second["consistency/agreement"] > 0
    assert second["loss"] != first["loss"]


@pytest.mark.parametrize("wrong", [{"loss": "ipo"}, {"ld_alpha": 0.5}])
def test_soft_labels_are_for_the_sigmoid_loss(wrong: dict[str, Any], store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="the pairs have a weight, which is the soft label of loss='sigmoid'"):
        trainer_of(dpo_job("wrong", wrong, datasets=[pairs(0.9)]), store, tmp_path)


def test_consistency_without_a_judges_probability_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="consistency needs the judge's probability as the weight of each pair"):
        trainer_of(dpo_job("none", consistency={}), store, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "robust"}, "loss='robust' with label_smoothing=0 is loss='sigmoid'"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 has no effect on loss='sigmoid'"),
        ({"loss": "ipo", "ld_alpha": 0.3}, "ld_alpha=0.3 is for losses of the difference .*loss='ipo'"),
        ({"loss": "hinge"}, "loss"),
    ],
)
def test_combinations_without_a_meaning_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DpoHyper.model_validate(wrong)


def test_exported_answers_train_kto(store: ArtifactStore, tmp_path: Path) -> None:
    store.write_jsonl(paths.pairs("t", "M9"), store.read_jsonl(PAIRS))
    file = tmp_path / "answers.jsonl"
    file.write_bytes(export_pairs(store, "t", "M9", "kto"))
    dataset = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(set(dataset["label"])) == [False, True]
    tokenizer = load_tokenizer(M0, CANARY)
    hardware: dict[str, Any] = {
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }
    silent: dict[str, Any] = {"report_to": "none", "disable_tqdm": True}
    arguments = KTOConfig(
        output_dir=str(tmp_path / "kto"),
        max_steps=2,
        per_device_train_batch_size=8,
        logging_steps=1,
        **hardware,
        **silent,
    )
    trainer = KTOTrainer(
        model=load_model(M0, torch.float32),
        ref_model=load_model(M0, torch.float32),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=dataset,
    )
    trainer.train()
    assert all(math.isfinite(loss) for loss in losses(trainer))
