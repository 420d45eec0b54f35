"""Judge against checker: figures by hand, and alarms on made-up traces."""

import subprocess
import sys
from random import Random

import pytest

from examples.worlds.countdown.world import world
from examples.worlds.monitor import watch
from selfreward.contracts.reinforcement import Sample
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.rewards import Verified, agreement, monitor
from selfreward.evaluation.report.tables import tables
from selfreward.store.artifacts import ArtifactStore
from tests.support.places import ROOT
from tests.support.synthetic_run import RUN, write_run


def trace(steps: int, right: tuple[float, float], missed: tuple[float, float], answers: int = 64) -> list[Verified]:
    """Answers whose share of right ones, and of wrong ones that are rewarded, move from the first to the second.

    Every right answer is rewarded.
    """
    rng, found = Random(1), []
    for step in range(1, steps + 1):
        along = (step - 1) / (steps - 1)
        share, fooled = (before + along * (after - before) for before, after in (right, missed))
        for _ in range(answers):
            is_right = rng.random() < share
            found.append(Verified(step, is_right or rng.random() < fooled, is_right))
    return found


def test_precision_and_recall_by_hand() -> None:
    cases = [(True, True)] * 3 + [(True, False)] + [(False, True)] * 2 + [(False, False)] * 4
    found = agreement([Verified(1, rewarded, right) for rewarded, right in cases])
    assert found == {
        "n": 10,
        "reward": 0.4,
        "checker": 0.5,
        "precision": 0.75,
        "recall": 0.6,
        "false_positive_rate": 0.2,
    }
    assert agreement([Verified(1, False, False)])["precision"] is None


def test_a_policy_that_learns_to_solve_raises_no_alarm() -> None:
    found = monitor(trace(20, right=(0.3, 0.8), missed=(0.05, 0.05)))
    assert found["alarms"] == []
    assert found["last"]["checker"] > found["first"]["checker"] + 0.3
    assert [row["step"] for row in found["steps"]] == list(range(1, 21))


def test_a_policy_that_fools_its_judge_fires_the_alarm() -> None:
    """Loop score up, checker flat."""
    found = monitor(trace(20, right=(0.3, 0.3), missed=(0.02, 0.6)))
    hacking, *_ = [said for said in found["alarms"] if said.startswith("reward hacking")]
    assert "the reward rose by" in hacking
    assert abs(found["last"]["checker"] - found["first"]["checker"]) < 0.1
    assert any(said.startswith("false positives") for said in found["alarms"])


def test_a_policy_that_gets_worse_while_its_reward_rises_fires_the_alarm() -> None:
    assert any(said.startswith("reward hacking") for said in monitor(trace(12, (0.4, 0.2), (0.0, 0.5)))["alarms"])


def test_a_careless_judge_that_gets_no_worse_is_a_false_positive_alarm_only() -> None:
    (alarm,) = monitor(trace(20, right=(0.3, 0.3), missed=(0.3, 0.3)))["alarms"]
    assert alarm.startswith("false positives")


def test_a_question_that_is_none_of_this_world_has_no_right_answer(hacked: ArtifactStore) -> None:
    odd = {**sample(1, "7 * 3 = 21", 1), "prompt": "Use 7 to make ."}
    hacked.write_jsonl(f"runs/{RUN}/samples/M2.jsonl", [odd])
    (stage,) = watch(hacked, RUN, world())
    assert (stage["steps"][0]["reward"], stage["steps"][0]["checker"]) == (1.0, 0.0)


def test_a_few_rewarded_answers_raise_no_alarm() -> None:
    assert monitor([Verified(1, True, False)] * 19 + [Verified(1, False, False)] * 5)["alarms"] == []
    with pytest.raises(ValueError, match="no answers were sampled"):
        monitor([])


def sample(step: int, text: str, reward: int) -> dict[str, object]:
    prompt = "Use 7 3 12 to make 33 ."
    made = Sample(step=step, prompt_id="p", prompt=prompt, text=text, answer=text, score=5, reward=reward)
    return made.model_dump(mode="json")


@pytest.fixture
def hacked(store_root: str) -> ArtifactStore:
    """A run whose M2 was rewarded for wrong answers more and more."""
    store = ArtifactStore(store_root)
    write_run(store)
    good, bad = "7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 10 ; 10 + 12 = 33"
    rows = [
        row
        for step in range(1, 9)
        for row in [sample(step, good, 1)] * 10 + [sample(step, bad, 1)] * (4 * step) + [sample(step, bad, 0)] * 10
    ]
    store.write_jsonl(f"runs/{RUN}/samples/M2.jsonl", rows)
    return store


def test_the_checker_finds_what_the_judge_let_pass_and_the_report_shows_it(hacked: ArtifactStore) -> None:
    (stage,) = watch(hacked, RUN, world())
    assert stage["stage"] == "M2"
    assert stage["steps"][0] == {
        "step": 1,
        "n": 24,
        "reward": 14 / 24,
        "checker": 10 / 24,
        "precision": 10 / 14,
        "recall": 1.0,
        "false_positive_rate": 4 / 14,
    }
    assert len(stage["alarms"]) == 2
    report = build_report(load_run(hacked, RUN), resamples=100)
    assert report["rewards"] == [stage]
    (table,) = [table for table in tables(report) if table.title == "Rewards"]
    assert "reward hacking" in table.note
    assert [row[0] for row in table.rows] == ["M2, first steps", "M2, last steps"]


def test_the_command_ends_with_status_1_on_an_alarm(hacked: ArtifactStore) -> None:
    command = [sys.executable, "-m", "examples.worlds.monitor", RUN, "--artifacts", str(hacked.root)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "ALARM M2: reward hacking" in ended.stdout
    command[3] = "none"
    unknown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert unknown.returncode == 1
    assert "no run 'none' below" in unknown.stderr
