"""Self-Instruct: demonstrations, parsing, filters, ROUGE-L."""

import random

import pytest

from selfreward.loop.self_instruct import (
    Pool,
    demonstrations,
    is_well_formed,
    parse_tasks,
    request_text,
    rouge_l,
    words,
)
from selfreward.recipe.rounds import SelfInstruct

HUMAN = [f"Human task number {number} about topic {number}" for number in range(20)]


def test_eight_demonstrations_six_of_people_and_two_generated() -> None:
    shown = demonstrations(HUMAN, ["made a", "made b", "made c"], random.Random(0))
    assert len(shown) == 8
    assert sum(task.startswith("made") for task in shown) == 2
    assert len(set(shown)) == 8
    assert all(task in HUMAN for task in demonstrations(HUMAN, [], random.Random(0)))


def test_the_request_numbers_the_demonstrations_and_asks_for_the_next() -> None:
    text = request_text(["First\ntask", "Second task"])
    assert text == "Come up with a series of tasks:\n1. First task\n2. Second task\n3."


@pytest.mark.parametrize(
    ("text", "truncated", "expected"),
    [
        (" Explain tides.\n10. Name a bird.\n11. Sum it", False, ["Explain tides.", "Name a bird.", "Sum it"]),
        (" Explain tides.\n10. Name a bird.\n11. Sum it", True, ["Explain tides.", "Name a bird."]),
        ("Sure, here are some:\n\n9. Explain tides.\n10) Name a\nbird.", False, ["Explain tides.", "Name a bird."]),
        ("9. Explain tides.", False, ["Explain tides."]),
        ("", False, []),
    ],
)
def test_numbered_lists_are_parsed(text: str, truncated: bool, expected: list[str]) -> None:
    assert parse_tasks(text, truncated) == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("Explain how tides work", True),
        ("Too short task", False),
        ("word " * 151, False),
        ("Describe this Image in detail", False),
        ("Explain profiles of imagery in poems", True),
        ("Go to the shop for me", False),
        ("Write a program that sorts numbers", False),
        ("- Explain how tides work", False),
        ("Éclairs are baked in what way", False),
    ],
)
def test_filters_of_self_instruct(task: str, expected: bool) -> None:
    assert is_well_formed(task.strip(), SelfInstruct()) is expected


def test_rouge_l_golden_vectors() -> None:
    assert rouge_l(words("the cat sat"), words("the cat sat")) == 1.0
    assert rouge_l(words("police killed the gunman"), words("police kill the gunman")) == pytest.approx(0.75)
    assert rouge_l(words("a b c d"), words("b d")) == pytest.approx(2 * 2 / 6)
    assert rouge_l([], words("b d")) == 0.0


def test_the_pool_refuses_what_is_like_a_seed_or_an_accepted_task() -> None:
    pool = Pool(["Explain how the tides of the sea work"], [], SelfInstruct())
    assert not pool.offer("Explain how the tides of the sea work.")
    assert pool.offer("Name three birds that cannot fly")
    assert not pool.offer("Name three birds that can not fly")
    assert pool.accepted == ["Name three birds that cannot fly"]
    resumed = Pool([], pool.accepted, SelfInstruct())
    assert not resumed.offer("Name three birds that cannot fly")
