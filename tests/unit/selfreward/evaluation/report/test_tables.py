"""Which tables a report has."""

from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.tables import tables
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


def test_the_report_has_a_table_of_implicit_rewards_where_they_were_measured(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=20, judged=10)
    name = f"runs/{RUN}/iterations/M2.json"
    figures = {"consistency": 0.8, "kendall_tau": 0.6, "agreement": 0.5}
    store.write_json(name, {**store.read_json(name), **figures})
    titled = {table.title: table for table in tables(build_report(load_run(store, RUN), resamples=100))}
    assert titled["Implicit rewards"].rows == [("M2", "0.800", "0.600", "50.0")]
