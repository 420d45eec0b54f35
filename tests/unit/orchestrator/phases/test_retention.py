"""Which models a run needs for what is still to come."""

from typing import Any

import pytest

from orchestrator.phases.retention import models_to_keep
from tests.support.factories import recipe


def test_retention_keeps_the_model_before_while_a_round_is_still_to_be_scored() -> None:
    run_recipe = recipe(method="cream", loop={"iterations": 3, "use_eft": False}, retention={"keep_checkpoints": 1})
    models = ["M0", "M1", "M2", "M3"]
    assert models_to_keep(run_recipe, models, ["M0", "M1", "M2", "M3"]) == {"M0", "M2", "M3"}
    assert models_to_keep(run_recipe, models, ["M0", "M1", "M2", "M3", "M4"]) == {"M0", "M3"}


@pytest.mark.parametrize(
    ("loop", "trained", "kept"),
    [
        ({"iterations": 3}, ["M0", "SFT", "M1"], {"M0", "M1"}),
        ({"iterations": 3}, ["M0", "SFT", "M1", "M2"], {"M0", "M2"}),
        ({"iterations": 3, "init_from": "anchor"}, ["M0", "SFT", "M1", "M2"], {"M0", "M1", "M2"}),
        ({"iterations": 1, "init_from": "anchor"}, ["M0", "SFT", "M1", "M2"], {"M0", "M1", "M2"}),
    ],
)
def test_the_base_the_anchor_and_parents_of_coming_models_are_needed(
    loop: dict[str, Any], trained: list[str], kept: set[str]
) -> None:
    assert models_to_keep(recipe(retention={"keep_checkpoints": 1}, loop=loop), trained, trained) == kept
