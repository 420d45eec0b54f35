"""Claims of the papers on a seed's runs: they follow what was measured, and are left out where a run is missing."""

from pathlib import Path
from typing import Any

import pytest

from examples.worlds.countdown.method_claims import claims_of, gaps, hacked, wider
from examples.worlds.countdown.padding import padding_claim
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.evaluation.report.inputs import ReportError
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run

EFT = "EFT raises judge accuracy"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    folder = tmp_path_factory.mktemp("artifacts")
    store = ArtifactStore(str(folder))
    write_run(store, prompts=300)
    Path(folder, "runs", RUN).rename(folder / "runs" / "m1-0")
    return store


def _entry(*alarms: str) -> dict[str, Any]:
    model = {"solve_rate": {"value": 0.3}}
    return {"model": "M3", "models": {"M1": model, "M3": model}, "alarms": list(alarms)}


@pytest.mark.parametrize("other", [0, 1])
def test_padding_wins_by_a_judge_who_likes_length_and_not_when_length_is_controlled(
    store: ArtifactStore, other: int
) -> None:
    claim = padding_claim(store, 0, other, resamples=30)
    assert claim["holds"], claim["measured"]
    assert "length-controlled" in claim["measured"]


def test_padding_needs_what_the_checker_says(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    write_run(store, prompts=10, labelled=False)
    Path(tmp_path, "runs", RUN).rename(tmp_path / "runs" / "m1-0")
    with pytest.raises(ReportError, match="m1-0 has no checker's labels"):
        padding_claim(store, 0)


@pytest.mark.parametrize(("more", "holds"), [(0.3, True), (0.0, False), (-0.3, False)])
def test_the_gap_is_wider_where_the_interval_of_the_difference_says_so(more: float, holds: bool) -> None:
    own = {f"p{n}": 1 + more + n % 5 / 5 for n in range(100)}
    plain = {f"p{n}": 1 + n % 7 / 7 for n in range(50, 300)}
    claim = wider(own, plain)
    assert claim["holds"] is holds
    assert claim["measured"].startswith(f"{1.4 + more:.2f} against 1.43 points: ")


def test_gaps_are_those_of_answers_and_not_of_judgments() -> None:
    turns = [Message(role="user", content="q")]
    actor = PreferencePair(
        prompt=turns,
        chosen=turns,
        rejected=turns,
        prompt_id="p",
        score_chosen=5,
        score_rejected=3.5,
        policy_version="policy@3",
        judge_version="policy@3",
        rubric="countdown@sha256:0123456789ab",
    )
    judge = actor.model_copy(update={"prompt_id": "q", "kind": "judge"})
    assert gaps([actor, judge]) == {"p": 1.5}


def test_hacking_shows_by_the_reports_alarm_and_by_no_other() -> None:
    assert not hacked(_entry("M2 ties"))["holds"]
    assert hacked(_entry("M3 own score up since M1, the independent one not"))["holds"]


def test_claims_are_those_whose_runs_came_to_their_end(store: ArtifactStore) -> None:
    entries = {"blind_judge": _entry(), "positives": _entry(), "self_rewarding": {**_entry(), "failed": "no pairs"}}
    claims = claims_of(store, entries, 0)
    assert [text.partition(" ")[0] for text in claims] == ["EFT", "a", "a", "a"]
    assert claims[EFT]["holds"], "the synthetic SFT judge is far noisier than M1's"
