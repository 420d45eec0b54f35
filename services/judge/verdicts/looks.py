"""How a pair is shown: in which orders, by which seeds, and what stands where."""

from collections.abc import Sequence
from typing import NamedTuple

from selfreward.contracts.comparisons import Comparison, MetaItem, Order, PairItem
from services.judge.rubrics.template import as_text
from services.judge.verdicts.sampling import another_seed, item_seeds


class Look(NamedTuple):
    """One order in which an item, here its position, is shown; `seed` is of the verdicts on it."""

    item: int
    order: Order
    seed: int | None


def orders_of(request: Comparison) -> tuple[Order, ...]:
    """The orders in which each item is shown."""
    return ("ab", "ba") if request.swap else ("ab",)


def looks(request: Comparison, items: Sequence[PairItem | MetaItem]) -> list[Look]:
    """Every order of every item, those of an item together."""
    return [
        Look(index, order, seed if seed is None or order == "ab" else another_seed(seed, order))
        for index, seed in enumerate(item_seeds(request.seed, [item.id for item in items]))
        for order in orders_of(request)
    ]


def shown_pair(item: PairItem, order: Order) -> dict[str, str]:
    """What stands for each placeholder in one order."""
    first, second = (item.a, item.b) if order == "ab" else (item.b, item.a)
    return {
        "prompt": as_text(item.prompt),
        "response_a": as_text(first),
        "response_b": as_text(second),
        "reference": item.reference or "",
    }
