"""The small run's files, which the harnesses give to the command line as `data.<name>`."""

from pathlib import Path

from tests.support.small_recipe import small_recipe


def test_every_file_is_one_that_the_recipe_names(tmp_path: Path) -> None:
    data = small_recipe(tmp_path).data.model_dump(exclude_none=True)
    named = {name: value for name, value in data.items() if str(value).startswith(str(tmp_path))}
    assert named == {file.stem: str(file) for file in tmp_path.iterdir()}
