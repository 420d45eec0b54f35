"""Properties of the reader: what is no verdict is never a vote, and a verdict is read in whatever legal form it has."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.judge.reading.criteria import CriteriaForm
from services.judge.reading.ranking import RankForm
from services.judge.reading.read import VerdictForm, read
from services.judge.reading.score import ScoreForm
from services.judge.reading.sides import FiveWayForm, sides
from services.judge.reading.words import correctness

POINTS = ScoreForm("Score:", 0, 5)
FORMS: list[VerdictForm[object]] = [
    POINTS,
    sides("Winner:", tie=True),
    correctness("Verdict:"),
    FiveWayForm("Verdict:"),
    CriteriaForm("Criterion #:", 2),
    RankForm("Ranking:", 3),
]
LABELS = re.compile(r"(score|winner|verdict|criterion\W*\d|ranking)\W*[:=]|\[\s*[ab]", re.IGNORECASE)

# Lines in which a label, a number, a side or a whole verdict stands, and which are no verdicts.
NO_VERDICTS = [
    "The response covers 3 of the 5 points and gets 1 for each.",
    "I would say Score: 5 here, if the dates were right.",
    "This is not a Score: 5 answer.",
    "Maximum score: 5",
    '{"max_score": 5, "confidence_score": 4, "previous_winner": "A"}',
    "Score: <total points>",
    "Score: 3 or 4",
    "Score: about 4",
    "Winner: A or B",
    "Winner: not A",
    "Winner: A has errors.",
    "Verdict: partially correct",
    "Verdict: 1 error found",
    "My verdict is not [[A>B]]",
    "[[A>B]] or [[A=B]], I am not sure which.",
    "Criterion 1: no longer matters",
    "Criterion 2: N/A",
    "Ranking: 1 > 2 > 3 > 1",
    "> Score: 5",
    "| Score: | 4 |",
    "A is shorter, B is right, both are correct: yes and no.",
    "<think>Score: 2. Winner: A. Verdict: correct [[A>B]] Ranking: 1 > 2 > 3</think>",
]

ONCE = settings(max_examples=50, deadline=None)


@ONCE
@given(text=st.text(max_size=200), form=st.sampled_from(FORMS))
def test_a_text_without_the_label_is_never_a_vote(text: str, form: VerdictForm[object]) -> None:
    if not LABELS.search(text):
        assert read(text, "stop", form).value is None


@ONCE
@given(lines=st.lists(st.sampled_from(NO_VERDICTS), max_size=8), form=st.sampled_from(FORMS))
def test_a_text_without_a_verdict_of_its_own_is_never_a_vote(lines: list[str], form: VerdictForm[object]) -> None:
    reading = read("\n".join(lines), "stop", form)

    assert reading.value is None
    assert reading.reason


@ONCE
@given(
    before=st.lists(st.sampled_from([line for line in NO_VERDICTS if "[[" not in line]), max_size=4),
    lead=st.sampled_from(["", "**", "# ", "- ", "Final ", "So the total ", "```\n", "\u200b", "Well done. ", "<b>"]),
    colon=st.sampled_from([":", " :", "：", ":**", " =", ":\u200b"]),
    space=st.sampled_from([" ", "", "\n", "\u3000", "\u00a0"]),
    wrap=st.sampled_from(
        ["{}", "**{}**", "[[{}]]", "<{}>", "({})", '"{}"', r"\boxed{{{}}}", r"\({}\)", "“{}”", "`{}`"]
    ),
    value=st.integers(0, 5),
    scale=st.sampled_from(["", "/5", " / 5", " out of 5", " points", " of 5 points", " (out of 5)"]),
    mark=st.sampled_from(["", ".", "!", "。", " ", " ⭐⭐", "\n```", "\r\n"]),
)
def test_a_score_is_read_in_every_legal_form(
    before: list[str], lead: str, colon: str, space: str, wrap: str, value: int, scale: str, mark: str
) -> None:
    written = wrap.format(value)
    text = "\n".join([*before, f"{lead}Score{colon}{space}{written}{scale}{mark}"])

    reading = read(text, "stop", POINTS)

    assert reading.value == value, reading.reason
    assert text[reading.start] == str(value)


@ONCE
@given(
    terms=st.lists(st.integers(0, 2), min_size=2, max_size=6),
    off=st.integers(-1, 1),
    plus=st.sampled_from(["+", " + "]),
    wrap=st.sampled_from(["{} = {}", "({}) = {}", "{} = **{}**", "{}={}.", "{} = {}/5"]),
)
def test_a_sum_is_its_total_if_it_is_right(terms: list[int], off: int, plus: str, wrap: str) -> None:
    total = sum(terms) + off
    reading = read(f"Score: {wrap.format(plus.join(map(str, terms)), total)}", "stop", POINTS)

    if off:
        assert reading.value is None
    else:
        assert (reading.value, reading.status) == ((total, "ok") if total <= 5 else (None, "out_of_range"))


@pytest.mark.parametrize(
    ("form", "verdict", "value"),
    [
        (FORMS[1], "Winner: {}B{}", "b"),
        (FORMS[1], "Winner: {}Response A{}", "a"),
        (FORMS[1], "Winner: {}tie{}", "tie"),
        (FORMS[2], "Verdict: {}incorrect{}", 0),
        (FORMS[3], "Verdict: {}[[B>>A]]{}", ("b", True)),
        (FORMS[4], "Criterion 1: {}yes{}\nCriterion 2: {}no{}", (True, False)),
        (FORMS[5], "Ranking: {}2 > 3 > 1{}", [0, 1, 0.5]),
    ],
)
@ONCE
@given(
    before=st.lists(st.sampled_from(NO_VERDICTS[:3]), max_size=3),
    around=st.sampled_from([("", ""), ("**", "**"), ("(", ")"), (r"\boxed{", "}"), ('"', '"'), ("`", "`.")]),
    after=st.sampled_from(["", ".", "\n", " - it is clear", ", because it is clear", "\n\nAll is said.", "\n```"]),
)
def test_every_form_is_read_with_its_decoration(
    form: VerdictForm[object], verdict: str, value: object, before: list[str], around: tuple[str, str], after: str
) -> None:
    text = "\n".join([*before, verdict.format(*around * 2) + after])

    reading = read(text, "stop", form)

    assert reading.value == value, reading.reason


@ONCE
@given(text=st.text(max_size=300), finish=st.sampled_from(["stop", "length", None]), form=st.sampled_from(FORMS))
def test_any_text_has_a_status_and_a_reason(text: str, finish: str | None, form: VerdictForm[object]) -> None:
    reading = read(text, finish, form)

    assert (reading.value is not None) == (reading.status == "ok") == (reading.reason is None)
    assert 0 <= reading.start <= len(text)
