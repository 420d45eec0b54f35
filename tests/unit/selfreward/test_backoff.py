"""Waits grow to their bound and no further, and differ from caller to caller."""

from itertools import islice

from selfreward.backoff import backoff, jittered


def test_waits_double_up_to_the_longest() -> None:
    bounds = [1, 2, 4, 5, 5, 5]

    waits = list(islice(backoff(1, 5), len(bounds)))

    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True)), waits


def test_a_wait_that_begins_at_its_bound_stays_there() -> None:
    assert all(1 <= wait <= 2 for wait in islice(backoff(7, 2), 100))


def test_callers_that_failed_together_come_back_apart() -> None:
    assert len({jittered(1) for _ in range(100)}) > 90
