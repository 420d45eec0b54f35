"""What a checkpoint folder could run as a program is never loaded: no pickle, and no code of its own."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from selfreward.contracts.base import Message
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import InvalidArtifact, Lineage, verify_folder
from services.generator.checkpoints.checkpoint import read_facts
from services.trainer.training.checks import JobRefused, check_weights_present, load_tokenizer
from services.trainer.training.models import context_length, load_model, served_dtype
from services.trainer.training.publish import publish_folder
from tests.support.pickles import PICKLES, Bomb
from tests.support.places import M0

CANARY = [Message(role="user", content="Use 7 3 12 to make 33 .")]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A folder that is there once something has been run."""
    return tmp_path / "it-ran"


@pytest.fixture
def folder(tmp_path: Path, mark: Path) -> Path:
    """The demo's base model, with a pickle under every name that libraries have loaded pickles from."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(M0, folder)
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    return folder


def test_the_pickles_of_this_test_do_run(folder: Path, mark: Path) -> None:
    pickle.loads((folder / PICKLES[0]).read_bytes())  # noqa: S301 - shows that the other tests could fail

    assert mark.exists()


def test_pickles_beside_safetensors_are_neither_loaded_nor_published(folder: Path, mark: Path, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "store"))
    read_facts(folder)
    tokenizer = load_tokenizer(folder, CANARY)
    load_model(folder, served_dtype(folder))
    publish_folder(store, "w", folder, tokenizer, CANARY, Lineage(stage="M0"))

    assert not mark.exists()
    assert {Path(name).suffix for name in verify_folder(store.fetch("w"))[0].files} <= {
        ".safetensors",
        ".json",
        ".jinja",
    }


def test_a_checkpoint_of_pickles_alone_is_refused(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()

    with pytest.raises(JobRefused, match=r"has no \*\.safetensors: .*no pickles are read"):
        check_weights_present(folder)
    with pytest.raises(InvalidArtifact, match=r"has neither model\.safetensors nor"):
        read_facts(folder)
    with pytest.raises(OSError, match="safetensors"):
        load_model(folder, torch.float32)
    assert not mark.exists()


def with_code(folder: Path, mark: Path, **config: str) -> None:
    """Have the checkpoint bring classes of its own for everything that is loaded by a class."""
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass Own: pass\n")
    classes = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
    for name, changes in (("config.json", config), ("tokenizer_config.json", {})):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, **changes, "auto_map": classes}))


def test_a_known_model_that_brings_code_is_loaded_without_it(folder: Path, mark: Path) -> None:
    with_code(folder, mark)

    load_model(folder, torch.float32)
    load_tokenizer(folder, CANARY)
    assert not mark.exists()


def test_a_model_that_is_only_its_own_code_is_refused(folder: Path, mark: Path) -> None:
    with_code(folder, mark, model_type="own")

    for load in (lambda: load_model(folder, torch.float32), lambda: context_length(folder)):
        with pytest.raises(ValueError, match="contains custom code"):
            load()
    assert not mark.exists()
