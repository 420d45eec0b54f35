"""The training order: every row as often as asked, random between steps, sorted by length within a step."""

from collections import Counter

from services.trainer.training.data import training_order

_LENGTHS = [(7 * index) % 50 + 1 for index in range(100)]


def test_each_epoch_holds_every_row_once() -> None:
    order = training_order(_LENGTHS, epochs=2, batch_size=16, seed=0)
    assert Counter(order) == dict.fromkeys(range(100), 2)


def test_part_of_an_epoch_is_rounded_to_whole_rows() -> None:
    assert len(training_order(_LENGTHS, epochs=0.254, batch_size=16, seed=0)) == 25
    assert len(training_order(_LENGTHS, epochs=0.001, batch_size=16, seed=0)) == 1


def test_rows_are_sorted_within_each_step_only() -> None:
    order = training_order(_LENGTHS, epochs=1, batch_size=16, seed=3)
    steps = [[_LENGTHS[index] for index in order[start : start + 16]] for start in range(0, 100, 16)]
    assert all(step == sorted(step) for step in steps)
    assert max(steps[0]) > min(steps[1])


def test_a_step_holds_the_same_rows_whatever_their_lengths() -> None:
    by_length = training_order(_LENGTHS, epochs=1, batch_size=16, seed=3)
    plain = training_order([1] * 100, epochs=1, batch_size=16, seed=3)
    assert [set(by_length[i : i + 16]) for i in range(0, 100, 16)] == [
        set(plain[i : i + 16]) for i in range(0, 100, 16)
    ]


def test_seed_and_epoch_change_the_order() -> None:
    first = training_order([1] * 100, epochs=2, batch_size=10, seed=0)
    assert first == training_order([1] * 100, epochs=2, batch_size=10, seed=0)
    assert first[:100] != first[100:]
    assert first != training_order([1] * 100, epochs=2, batch_size=10, seed=1)
