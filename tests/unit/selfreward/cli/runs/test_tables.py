"""What is printed of a report, on a terminal of 80 columns."""

import io

from rich.console import Console

from selfreward.cli.runs.tables import show_report
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import MODELS, RUN, write_run


def _shown(store: ArtifactStore) -> list[str]:
    screen = io.StringIO()
    show_report(build_report(load_run(store, RUN), resamples=100), Console(file=screen, width=80))
    return screen.getvalue().splitlines()


def test_no_table_is_cut_off_even_if_every_model_is_far_below_m0(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=40, judged=20)
    for name in list(MODELS)[1:]:
        path = f"runs/{RUN}/evaluation/{name}/labels.json"
        labels = store.read_json(path)
        for part in ("samples", "greedy"):
            solved = labels["solved"][part].items()
            labels["solved"][part] = {prompt: [False] * len(row) for prompt, row in solved}
        store.write_json(path, labels)
    lines = _shown(store)
    tables = [line for line in lines if line and line.split()[0] in MODELS]
    assert [line.split()[0] for line in tables[: len(MODELS)]] == list(MODELS)
    assert not [line for line in lines if "…" in line]
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("ALARM below_base: ")]) == 2 * (len(MODELS) - 1)


def test_the_gain_of_each_step_is_a_row_with_its_kind(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store)
    lines = _shown(store)
    (last,) = [line for line in lines if line.startswith("M3 - M0")]
    assert last.split()[-1] == "better"
    assert [line for line in lines if line.startswith("M3 minus M0, the untouched base model")]


def test_without_a_checker_only_what_was_measured_is_a_table(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=20, judged=10, labelled=False)
    lines = _shown(store)
    titles = [
        line.rstrip() for line in lines if line.startswith(("solved", "judge right", "gains", "head to head", "rounds"))
    ]
    assert titles == ["judge right, and texts", "rounds"]
