"""The watchdogs' figures by hand, when they bark, which alarm decides, and the recipe's section."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest

from selfreward.contracts.rollouts import Match, Rollout
from selfreward.evaluation.judge_metrics import grades, judge_figures
from selfreward.loop import watchdogs
from selfreward.loop.load import parse_recipe
from selfreward.loop.record import Alarm
from selfreward.recipe.recipe import RecipeError
from selfreward.recipe.watchdogs import Action, Watchdog, Watchdogs
from tests.support.factories import voted


def alarm(action: Action, watchdog: str = "ties") -> Alarm:
    return Alarm(
        stage="M2", phase="watch_pairs", watchdog=watchdog, value=1, threshold=0.5, action=action, message="said"
    )


def test_votes_by_hand() -> None:
    figures = watchdogs.vote_figures([voted("a", (4, 4, None), (4, 2)), voted("b", (4, None, None))])
    # Valid votes 4 4 4 2 4: four of five at 4, mean 3.6, variance (4 * 0.16 + 2.56) / 5 = 0.64; 3 of 8 unparsed.
    assert figures["one_score"] == pytest.approx(0.8)
    assert figures["score_spread"] == pytest.approx(0.8)
    assert figures["parse_failures"] == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("rollouts", "failures"),
    [([], None), ([voted("a")], None), ([voted("a", (4,))], 0), ([voted("a", (None,))], 1)],
)
def test_of_no_vote_and_of_one_nothing_can_be_said_about_spread(rollouts: list[Rollout], failures: Any) -> None:
    figures = watchdogs.vote_figures(rollouts)
    assert figures == {"one_score": None, "score_spread": None, "parse_failures": failures}


def test_scores_that_cluster_have_no_mode_and_yet_no_spread() -> None:
    """Fractional scores between 0.75 and 0.85: none is frequent, and the judge still says nothing."""
    figures = watchdogs.vote_figures([voted("a", tuple(0.75 + 0.01 * step for step in range(11)))])
    alarms = watchdogs.alarms("M2", "watch_pairs", figures, Watchdogs())
    assert [entry.watchdog for entry in alarms] == ["score_spread"]


def test_position_bias_by_hand_whichever_position_it_is() -> None:
    def compared(*outcomes: int, status: str = "ok") -> Rollout:
        matches = [
            Match.model_validate({"first": 0, "second": 1, "outcome": outcome, "status": status})
            for outcome in outcomes
        ]
        return voted("a").model_copy(update={"matches": matches})

    # Three of four decided comparisons for the first, then for the second; ties say nothing.
    assert watchdogs.match_figures([compared(1, 1, 1, -1, 0)])["position_bias"] == pytest.approx(0.25)
    assert watchdogs.match_figures([compared(-1, -1), compared(-1, 1)])["position_bias"] == pytest.approx(0.25)
    assert watchdogs.match_figures([compared(1, -1)])["position_bias"] == 0
    assert watchdogs.match_figures([compared(0)]) == {"position_bias": None, "parse_failures": 0}
    unread = [compared(1), compared(0, status="unparsed")]
    assert watchdogs.match_figures(unread) == {"position_bias": 0.5, "parse_failures": 0.5}
    assert watchdogs.match_figures([voted("a", (1,))]) == {"position_bias": None, "parse_failures": None}


def test_tie_rate_leaves_unscored_prompts_out() -> None:
    counts = {"kept": 6, "ties": 3, "below_margin": 1, "filtered": 0, "unscored": 90, "prompts": 100}
    assert watchdogs.tie_rate(counts) == pytest.approx(0.3)
    assert watchdogs.tie_rate({"kept": 0, "ties": 0, "below_margin": 0, "filtered": 0}) is None
    assert watchdogs.tie_rate({"kept": 0, "ties": 1, "below_margin": 0, "filtered": 0}) == 1


def test_length_growth_by_hand() -> None:
    first = [voted("a", (), (), texts=["12", "1234"])]
    now = [voted("a", (), texts=["1" * 7]), voted("b", (), texts=["1" * 8])]
    assert watchdogs.length_growth(first, now) == pytest.approx(7.5 / 3)
    assert watchdogs.length_growth([], now) is None
    assert watchdogs.length_growth(first, []) is None
    assert watchdogs.length_growth([voted("a", (), texts=[""])], now) is None


def test_accuracy_counts_the_prompts_that_all_models_have_judged() -> None:
    ranks = {"a": [1.0, 2.0, 3.0], "b": [2.0, 1.0], "c": [1.0, 2.0]}
    judged = {
        "M1": [voted("a", (5,), (3,), (1,)), voted("b", (1,), (4,)), voted("c", (0,), (5,))],
        "M2": [voted("a", (5,), (3,), (4,)), voted("b", (4,), (4,))],
    }
    # Prompts a and b, 3 + 1 pairs. M2 orders (1, 2) and (1, 3) of a rightly; its tie in b is wrong.
    assert watchdogs.judge_accuracies(ranks, judged) == {"M1": 1.0, "M2": 0.5}
    assert watchdogs.judge_accuracies(ranks, {"M1": [], "M2": judged["M2"]}) == {"M1": None, "M2": None}
    assert watchdogs.judge_accuracies({}, judged) == {"M1": None, "M2": None}


def test_pairwise_accuracy_is_the_reports() -> None:
    rng = random.Random(5)
    rows = []
    for _ in range(200):
        size = rng.randint(2, 6)
        ranks = [float(rng.randint(1, 4)) for _ in range(size)]
        rows.append((ranks, [rng.choice([None, 0.0, 2.5, 4.0, 5.0]) for _ in range(size)]))
    reported = judge_figures(grades([[-rank for rank in ranks] for ranks, _ in rows], [given for _, given in rows]))
    assert watchdogs.pairwise_accuracy(rows) == pytest.approx(reported["pairwise_accuracy"].value)
    assert watchdogs.pairwise_accuracy([([1.0, 1.0], [5.0, 4.0])]) is None


def test_the_best_is_the_earliest_of_equals_and_none_of_none() -> None:
    assert watchdogs.best({"M1": 0.7, "M2": 0.8, "M3": 0.8}) == ("M2", 0.8)
    assert watchdogs.best({"M1": None, "M2": 0.1}) == ("M2", 0.1)
    assert watchdogs.best({"M1": None}) is None


@pytest.mark.parametrize(
    ("name", "quiet", "loud"),
    [
        ("one_score", 0.9, 0.91),
        ("score_spread", 0.1, 0.09),
        ("parse_failures", 0.2, 0.21),
        ("ties", 0.5, 0.51),
        ("length_growth", 2.0, 2.01),
        ("judge_drift", 0.05, 0.051),
        ("position_bias", 0.25, 0.26),
        ("update_kept", 0.9, 0.89),
    ],
)
def test_a_watchdog_barks_past_its_threshold_and_not_at_it(name: str, quiet: float, loud: float) -> None:
    assert watchdogs.alarms("M2", "watch_model", {name: quiet}, Watchdogs()) == []
    (alarms,) = watchdogs.alarms("M2", "watch_model", {name: loud}, Watchdogs())
    action = "stop" if name == "update_kept" else "warn"
    assert (alarms.watchdog, alarms.action, alarms.key) == (name, action, f"M2/watch_model/{name}")
    assert alarms.message.startswith(f"watchdog {name} in M2: ")


@pytest.mark.parametrize(
    "report", sorted(Path("evidence/countdown").glob("report-seed*.json")), ids=lambda path: path.stem
)
def test_what_the_demo_measured_raises_no_alarm(report: Path) -> None:
    read = json.loads(report.read_text())
    models = {model["name"]: model for model in read["models"]}
    first = models["M1"]
    figures: list[watchdogs.Figures] = []
    for model in (first, models["M2"], models["M3"]):
        drift = [each["judge_fixed"]["pairwise_accuracy"]["value"] for each in (first, model)]
        figures.append(
            {
                **spread_of(dict(enumerate(model["histograms"]["own_votes"]))),
                "parse_failures": model["parse_failure_rate"]["value"],
                "length_growth": model["mean_length"]["value"] / first["mean_length"]["value"],
                "judge_drift": drift[0] - drift[1],
            }
        )
    for entry in read["iterations"]:
        counted = {float(score): count for score, count in entry["score_histogram"].items()}
        figures.append(
            {**spread_of(counted), "ties": watchdogs.tie_rate({"filtered": 0, "kept": entry["pairs"], **entry})}
        )
    # The demo's judge looks at one answer at a time, and its model is float32.
    assert {name for row in figures for name in row} == set(Watchdogs.model_fields) - {"position_bias", "update_kept"}
    assert [watchdogs.alarms("M", "watch", row, Watchdogs()) for row in figures] == [[]] * 5


def spread_of(counted: Mapping[float, int]) -> watchdogs.Figures:
    scores = [score for score, count in counted.items() for _ in range(count)]
    return {"one_score": max(counted.values()) / len(scores), "score_spread": pstdev(scores)}


def test_the_gravest_unacknowledged_alarm_decides() -> None:
    alarms = [
        alarm("warn", "one_score"),
        alarm("pause"),
        alarm("rollback", "judge_drift"),
        alarm("stop", "length_growth"),
    ]
    assert [entry.watchdog for entry in watchdogs.decide(alarms, set())] == ["judge_drift"]
    assert [entry.watchdog for entry in watchdogs.decide(alarms, {"M2/watch_pairs/judge_drift"})] == ["length_growth"]
    assert watchdogs.decide(alarms[:2], {"M2/watch_pairs/ties"}) == []
    assert watchdogs.decide([], set()) == []


def recipe(**sections: Any) -> dict[str, Any]:
    data = {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}
    return {"name": "r", "model": "m", "data": data, **sections}


def test_an_entry_keeps_the_default_of_what_it_leaves_out() -> None:
    read = parse_recipe(recipe(watchdogs={"ties": {"action": "pause"}, "one_score": {"threshold": 0.7}}), "r").watchdogs
    assert read.ties == Watchdog(threshold=0.5, action="pause")
    assert read.one_score == Watchdog(threshold=0.7, action="warn")
    assert read.judge_drift == Watchdogs().judge_drift


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"tie": {}}, r"watchdogs\.tie = {}: unknown key"),
        ({"ties": {"limit": 1}}, r"watchdogs\.ties\.limit = 1: unknown key"),
        ({"ties": {"action": "halt"}}, r"watchdogs\.ties\.action = 'halt'"),
        ({"ties": {"threshold": -1}}, r"watchdogs\.ties\.threshold = -1"),
        ({"ties": {"threshold": 50}}, r"watchdogs\.ties: threshold = 50 is not a share"),
        ({"update_kept": {"threshold": 90}}, r"watchdogs\.update_kept: threshold = 90 is not a share"),
        ({"length_growth": {"threshold": 0.5}}, r"watchdogs\.length_growth: threshold = 0\.5 would fire"),
        ({"position_bias": {"threshold": 0.5}}, r"watchdogs\.position_bias: threshold = 0\.5 can never be passed"),
        ({"ties": {"action": "rollback"}}, r"watchdogs\.ties\.action='rollback' needs data\.eft_eval"),
    ],
)
def test_a_wrong_entry_is_named_with_its_remedy(section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(recipe(watchdogs=section), "r")
