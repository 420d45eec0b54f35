"""How far an engine is from a canary, by hand."""

import math

import pytest

from services.generator.checkpoints.canary import difference

PUBLISHED = [{7: -0.1, 8: -2.5}, {9: -1.0}]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([{7: -0.1, 8: -2.5, 5: -9.0}, {9: -1.0}], 0.0),
        ([{7: -0.4, 8: -2.5}, {9: -1.0}], math.sqrt(0.3**2 / 3)),
        # What is not listed is as likely as the least that is: 8 at -3.5.
        ([{7: -0.1, 5: -3.5}, {9: -1.0}], math.sqrt(1 / 3)),
    ],
)
def test_difference_by_hand(found: list[dict[int, float]], expected: float) -> None:
    assert difference(PUBLISHED, found) == pytest.approx(expected)


def test_an_answer_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        difference(PUBLISHED, [{7: -0.1}])
