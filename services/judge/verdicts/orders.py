"""Both orders: every pair is judged in each, because judges prefer a position (Zheng et al. 2023, 2306.05685).

In order `ab` the item's a stands first, as A; in order `ba` its b does. A vote is read by position and then names the
item's own side as the winner.
"""

from collections.abc import Sequence
from typing import NamedTuple

from selfreward.contracts.comparisons import Comparison, MetaItem, Order, PairItem, Side
from services.judge.rubrics.template import Value, as_text
from services.judge.verdicts.sampling import derive_seed, item_seeds

_OTHER: dict[Side, Side] = {"a": "b", "b": "a", "tie": "tie"}


class Presentation(NamedTuple):
    """One item in one order. `item` is its index in the request, `seed` the seed of the votes on it."""

    item: int
    order: Order
    seed: int | None


def orders_of(request: Comparison) -> tuple[Order, ...]:
    """The orders in which every item is judged."""
    return ("ab", "ba") if request.swap else ("ab",)


def presentations(request: Comparison, items: Sequence[PairItem | MetaItem]) -> list[Presentation]:
    """Every item in every order. The orders of one item are adjacent."""
    return [
        Presentation(index, order, seed if seed is None or order == "ab" else derive_seed(seed, order))
        for index, seed in enumerate(item_seeds(request.seed, [item.id for item in items]))
        for order in orders_of(request)
    ]


def response_texts(item: PairItem, order: Order) -> dict[str, Value]:
    """The text of each placeholder for two responses in one order."""
    first, second = (item.a, item.b) if order == "ab" else (item.b, item.a)
    return {
        "prompt": as_text(item.prompt),
        "response_a": as_text(first),
        "response_b": as_text(second),
        "reference": item.reference or "",
    }


def judgment_texts(item: MetaItem, order: Order) -> dict[str, Value]:
    """The text of each placeholder for two judgments in one order."""
    first, second = (item.judgment_a, item.judgment_b) if order == "ab" else (item.judgment_b, item.judgment_a)
    return {
        "prompt": as_text(item.prompt),
        "response": as_text(item.response),
        "judgment_a": first,
        "judgment_b": second,
    }


def side_of_item(position: Side, order: Order) -> Side:
    """The item's side at a position: in order `ba`, position a shows the item's b."""
    return position if order == "ab" else _OTHER[position]
