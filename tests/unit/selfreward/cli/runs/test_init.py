"""`selfreward init`: what it writes can be run as it is."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import METHODS
from selfreward.loop.seed.chat_template import check_of
from selfreward.loop.seed.read import read_seed_data
from tests.support.places import M0


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_methods_recipe_and_seed_files_are_accepted(method: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    done = CliRunner().invoke(app, ["init", str(folder), "--method", method, "--model", str(M0)])
    assert done.exit_code == 0, done.output
    recipe = load_recipe(folder / "recipe.toml", environment={})
    assert (recipe.method, recipe.model) == (method, str(M0))
    check = check_of(M0)
    assert check is not None
    seed = read_seed_data(recipe, check)
    assert seed.ift
    # Every file that was written is used.
    written = {str(path) for path in (folder / "seed").iterdir()}
    assert written == {path for _, path in recipe.data if path}


def test_a_folder_that_exists_and_an_unknown_method_are_refused(tmp_path: Path) -> None:
    there = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert (there.exit_code, there.stderr) == (2, f"{tmp_path} exists: give a new folder\n")
    unknown = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--method", "magic"])
    assert unknown.stderr.startswith("--method magic is none of self_rewarding, ")
    assert not (tmp_path / "new").exists()
