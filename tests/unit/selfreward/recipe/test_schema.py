"""The recipes' JSON Schema for editors: named by every shipped recipe, and as strict as the model."""

import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from selfreward.loop.load import RunRecipe
from tests.support.places import RECIPES

SCHEMA = RunRecipe.model_json_schema()
"""What `make schema` writes."""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_names_the_schema_and_fits_it(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#:schema recipe.schema.json\n")
    assert list(Draft202012Validator(SCHEMA).iter_errors(tomllib.loads(text))) == []


def test_an_unknown_key_and_a_value_out_of_range_do_not_fit() -> None:
    recipe = tomllib.loads((RECIPES / "countdown.toml").read_text())
    recipe["sampling"] |= {"temprature": 1, "n": 0}
    (unknown, low) = sorted(Draft202012Validator(SCHEMA).iter_errors(recipe), key=lambda error: error.validator)
    assert (unknown.validator, low.validator) == ("additionalProperties", "minimum")
