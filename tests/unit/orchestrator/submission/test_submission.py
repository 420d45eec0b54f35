"""What is refused when a run is submitted."""

from pathlib import Path

import pytest

from orchestrator.submission.submission import check_model
from selfreward.recipe.recipe import RecipeError
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe
from tests.support.small_weights import describe, fill


def test_a_run_cannot_start_from_weights_that_are_gone(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    store.publish("runs/one/weights/M1", fill, describe)
    store.remove_weights("runs/one/weights/M1", "to make room")
    with pytest.raises(RecipeError, match=r"model: .*weights/M1: its weights were removed \(to make room\)"):
        check_model(recipe(model=store.path("runs/one/weights/M1")))
