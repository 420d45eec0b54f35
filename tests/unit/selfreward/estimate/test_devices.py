"""A CPU by hand: its time against what was measured on one, and its one memory for all parts."""

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.contracts.training import SftHyper
from selfreward.estimate import devices
from selfreward.estimate.devices import Cpu
from selfreward.estimate.shape import KNOWN
from selfreward.estimate.time import Assumptions, generating_hours, training_hours
from tests.support.places import RECIPES

SMOLLM2 = KNOWN["smollm2"]
SMALL = str(RECIPES / "qwen0.5b-1gpu.toml")


def on(cores: int, bf16: bool = True, memory: float = 24.0) -> Assumptions:
    return Assumptions(Cpu(cores, memory, bf16), gpus=1)


def plan(*arguments: str, columns: int = 200) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": str(columns)})
    assert done.exit_code == 0, done.output
    return done.output


def test_smollm2_has_its_published_number_of_parameters() -> None:
    assert SMOLLM2.parameters == 134_515_008


@pytest.mark.parametrize(("bf16", "per_second"), [(True, 350), (False, 220)])
def test_training_of_smollm2_takes_what_was_measured(bf16: bool, per_second: float) -> None:
    hours = training_hours(SMOLLM2, SftHyper(bf16=bf16, epochs=1), 1000, 100, 1, on(2))
    assert 1e5 / hours / 3600 == pytest.approx(per_second, rel=0.01)
    assert training_hours(SMOLLM2, SftHyper(bf16=bf16, epochs=1), 1000, 100, 1, on(4)) == pytest.approx(hours / 2)


def test_writing_by_smollm2_takes_what_was_measured() -> None:
    assert 1e6 / generating_hours(SMOLLM2, 0, 1e6, 100, on(2)) / 3600 == pytest.approx(690, rel=0.01)


def test_a_cpu_without_bf16_takes_the_time_of_float32() -> None:
    hours = [training_hours(SMOLLM2, SftHyper(bf16=True), 100, 100, 1, on(2, bf16)) for bf16 in (True, False)]
    assert hours[1] == pytest.approx(training_hours(SMOLLM2, SftHyper(bf16=False), 100, 100, 1, on(2)))
    assert hours[0] < hours[1]
    writing = [generating_hours(SMOLLM2, 0, 1e6, 100, on(2, bf16)) for bf16 in (True, False)]
    assert writing[0] < writing[1]


def test_processes_share_the_cores() -> None:
    one, four = (training_hours(SMOLLM2, SftHyper(), 100, 100, world, on(2)) for world in (1, 4))
    assert one == four


def test_the_cpu_is_planned_for_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    here = plan(SMALL, "--cores", "3")
    assert "h on 3 cores with" in here
    assert here == plan(SMALL, "--cores", "3", "--device", "cpu")
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    assert "training on 1 x h100" in plan(SMALL)


def test_a_cpus_memory_is_for_all_processes_and_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "this_cpu", lambda _: Cpu(2, 20.0))
    one = plan(SMALL, "--device", "cpu")
    assert "M2 needs most: 13.6 of the machine's 20 GB, with the engine's copy. It fits." in one
    two = plan(SMALL, "--device", "cpu", "trainer.world_size=2", columns=400)
    assert "and this machine has 20, of which a tenth should stay free" in two
    assert "a GPU with more memory (rtx4090, l40s" in two


@pytest.mark.parametrize("device", ["cpu", "h100"])
@pytest.mark.parametrize("recipe", ["qwen0.5b-1gpu", "llama8b-8gpu", "llama70b-lora"])
def test_tables_are_whole_in_80_columns(recipe: str, device: str) -> None:
    lines = plan(str(RECIPES / f"{recipe}.toml"), "--device", device, columns=80).splitlines()
    assert sum(line.split()[0] == "stage" for line in lines if line.strip()) == 2
    assert max(map(len, lines)) <= 80
    assert not any("\u2026" in line for line in lines)


def test_an_unknown_device_is_refused_with_those_that_are_known() -> None:
    done = CliRunner().invoke(app, ["plan", SMALL, "--device", "tpu"])
    assert done.exit_code == 2
    assert "--device tpu is not known; give one of cpu, rtx4090" in done.stderr
