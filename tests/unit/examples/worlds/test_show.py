"""What a demo prints of its report, on a terminal of 80 columns."""

import io
from pathlib import Path

from rich.console import Console

from examples.worlds.show import show_report
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import MODELS, RUN, write_run


def _shown(store: ArtifactStore, folder: Path) -> list[str]:
    report = build_report(load_run(store, RUN), resamples=100)
    ArtifactStore(str(folder)).write_json("report.json", report)
    screen = io.StringIO()
    show_report(folder / "report.json", Console(file=screen, width=80))
    return screen.getvalue().splitlines()


def test_no_table_is_cut_off_even_if_every_model_is_far_below_m0(store_root: str, tmp_path: Path) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=40, judged=20)
    for name in list(MODELS)[1:]:
        path = f"runs/{RUN}/evaluation/{name}/labels.json"
        labels = store.read_json(path)
        for part in ("samples", "greedy"):
            solved = labels["solved"][part].items()
            labels["solved"][part] = {prompt: [False] * len(row) for prompt, row in solved}
        store.write_json(path, labels)
    lines = _shown(store, tmp_path)
    tables = [line for line in lines if line and line.split()[0] in MODELS]
    assert [line.split()[0] for line in tables[: len(MODELS)]] == list(MODELS)
    assert not [line for line in lines if "…" in line]
    assert max(map(len, lines[:-1])) <= 80
    assert len([line for line in lines if line.startswith("ALARM below_base: ")]) == 2 * (len(MODELS) - 1)


def test_the_gain_of_each_step_is_a_row_with_its_kind(store_root: str, tmp_path: Path) -> None:
    store = ArtifactStore(store_root)
    write_run(store)
    lines = _shown(store, tmp_path)
    (last,) = [line for line in lines if line.startswith("M3 - M0")]
    assert last.split()[-1] == "better"
    assert [line for line in lines if line.startswith("M3 minus M0, the untouched base model")]
