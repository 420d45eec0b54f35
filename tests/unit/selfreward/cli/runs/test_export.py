"""`selfreward export RUN MODEL`: a checkpoint taken away from the artifact store."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli.main import app
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest
from tests.support.places import M0


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    """A store with a run of one model."""
    store = ArtifactStore(store_root)
    manifest = WeightsManifest(files={}, lineage=Lineage(stage="M1"))
    store.publish("runs/mine/weights/M1", lambda folder: _copy(M0, folder), lambda _: manifest)
    store.write_json("runs/mine/run.json", {"models": [{"name": "M1"}]})
    return store


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _export(store: ArtifactStore, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["export", *arguments, "--artifacts", store.root])


def test_the_folder_is_the_checkpoint_and_the_way_to_serve_it_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    done = _export(store, "mine", "M1", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert (out / "model.safetensors").read_bytes() == (M0 / "model.safetensors").read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in M0.iterdir()} | {"manifest.json"}
    assert f"selfreward up --model {out}, or vllm serve {out}" in done.output
    assert [path.name for path in out.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("run", "model", "said"),
    [
        ("mine", "M2", "run 'mine' has no model 'M2': it has M1\n"),
        ("other", "M1", "run 'other' has no model 'M1': no such run is below "),
    ],
)
def test_a_model_that_is_not_there_is_refused_with_those_that_are(
    store: ArtifactStore, tmp_path: Path, run: str, model: str, said: str
) -> None:
    done = _export(store, run, model, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert done.stderr.startswith(said)


def test_a_damaged_checkpoint_is_not_taken_away_and_a_folder_that_exists_is_kept(
    store: ArtifactStore, tmp_path: Path
) -> None:
    weights = Path(store.root) / "runs/mine/weights/M1/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    out = tmp_path / "out"
    assert "model.safetensors has" in _export(store, "mine", "M1", "--out", str(out)).stderr
    assert not out.exists()
    out.mkdir()
    assert _export(store, "mine", "M1", "--out", str(out)).stderr == f"--out {out} exists: give a new folder\n"
