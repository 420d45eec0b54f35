"""Claims of the papers on a seed's runs: they follow what was measured, and are left out where a run is missing."""

from pathlib import Path
from typing import Any

import pytest

from examples.countdown.method_claims import claims_of, gap_kept, hacked
from examples.countdown.padding import padded
from selfreward.artifacts import ArtifactStore
from tests.unit.synthetic_run import RUN, write_run

EFT = "EFT raises judge accuracy"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    folder = tmp_path_factory.mktemp("artifacts")
    store = ArtifactStore(str(folder))
    write_run(store, prompts=300)
    Path(folder, "runs", RUN).rename(folder / "runs" / "m1-0")
    return store


def _entry(*alarms: str, gap: float = 1.0) -> dict[str, Any]:
    model = {"solve_rate": {"value": 0.3}}
    rounds = [{"chosen_rejected_gap": {"value": gap, "low": gap - 0.1, "high": gap + 0.1}}]
    return {"model": "M3", "models": {"M1": model, "M3": model}, "alarms": list(alarms), "rounds": rounds}


@pytest.mark.parametrize("other", [0, 1])
def test_padding_wins_by_a_judge_who_likes_length_and_not_when_length_is_controlled(
    store: ArtifactStore, other: int
) -> None:
    found = padded(store, 0, other, resamples=100)
    assert found["holds"], found["measured"]
    assert "length-controlled" in found["measured"]


@pytest.mark.parametrize(("gap", "holds"), [(1.5, True), (1.1, False), (0.5, False)])
def test_the_gap_is_kept_where_the_intervals_are_apart(gap: float, holds: bool) -> None:
    found = gap_kept({"temporal": _entry(gap=gap), "self_rewarding": _entry()})
    assert found["holds"] is holds


def test_hacking_shows_by_the_reports_alarm_and_by_no_other() -> None:
    assert not hacked(_entry("M2 ties"))["holds"]
    assert hacked(_entry("M3 own score up since M1, the independent one not"))["holds"]


def test_claims_are_those_whose_runs_came_to_their_end(store: ArtifactStore) -> None:
    entries = {"blind_judge": _entry(), "temporal": _entry(), "self_rewarding": {**_entry(), "failed": "no pairs"}}
    found = claims_of(store, entries, 0)
    assert [text.partition(" ")[0] for text in found] == ["EFT", "a", "a", "a"]
    assert found[EFT]["holds"], "the synthetic SFT judge is far noisier than M1's"
