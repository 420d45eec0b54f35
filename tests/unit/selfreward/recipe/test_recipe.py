"""Recipes: precedence of their sources, and errors that name the key and the remedy."""

from pathlib import Path

import pytest

from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.loop.methods.constitutional import ConstitutionRules
from selfreward.loop.methods.plan import table
from selfreward.loop.methods.process import ProcessRules
from selfreward.recipe.recipe import RecipeError

RECIPE = """
name = "small"
model = "base"
[data]
ift = "ift.jsonl"
eft = "eft.jsonl"
prompts = "prompts.jsonl"
heldout = "heldout.jsonl"
[sampling]
n = 4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_defaults_are_the_papers(recipe: Path) -> None:
    loaded = load_recipe(recipe, environment={})
    assert (loaded.sampling.n, loaded.sampling.temperature, loaded.sampling.top_p) == (4, 0.7, 0.9)
    assert (loaded.judging.votes, loaded.dpo.beta, loaded.loop.init_from) == (3, 0.1, "previous")


def test_command_line_beats_environment_beats_file(recipe: Path) -> None:
    environment = {"SELFREWARD_RECIPE__sampling__n": "6", "SELFREWARD_RECIPE__seed": "9", "PATH": "/bin"}
    loaded = load_recipe(recipe, ["sampling.n=8"], environment)
    assert (loaded.sampling.n, loaded.seed) == (8, 9)


def test_overrides_take_toml_literals_and_bare_words(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["loop.init_from=anchor", "loop.use_eft=false", "dpo.beta=0.2", 'model="other"'], {})
    assert (loaded.loop.init_from, loaded.loop.use_eft, loaded.dpo.beta, loaded.model) == (
        "anchor",
        False,
        0.2,
        "other",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.N=8", r"sampling\.N = 8: unknown key"),
        ("sampling.n=0", r"sampling\.n = 0: .*greater than or equal to 1"),
        ("sampling.n=1", r"sampling\.n=1 leaves nothing to prefer: give 2 or more"),
        ("pairs.length_control=0.5", r"pairs\.length_control: length_control=0\.5 is not from 0 to below 0\.5"),
        ("pairs.length_control=[0.1, 0.5]", r"pairs\.length_control: length_control=0\.5 is not from 0"),
        ("pairs.length_control=[0.1]", r"pairs\.length_control has 1 values for loop\.iterations=2"),
        ("loop.replay=[1.5]", r"loop\.replay\.0 = 1\.5"),
        ("sampling=3", r"sampling = 3"),
        ("dpo.learning_rate=fast", r"dpo\.learning_rate = 'fast'"),
        ("sampling.n.deep=1", r"'n' is a value, not a section"),
        ("nonsense", "key=value"),
        ("loop.init_from=other", r"loop\.init_from = 'other'"),
        ("data.prompts=''", "data.prompts is missing: give a file"),
        ("data.eft=''", "data.eft is missing"),
    ],
)
def test_a_wrong_override_is_named_with_its_remedy(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [override], {})


def test_the_first_wrong_key_is_given_to_programs_too(recipe: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(recipe, ["loop.replay=[1.5]", "sampling.n=0"], {})

    assert refused.value.key == "sampling.n"


@pytest.mark.parametrize("override", ["pairs.judge_pairs=0.5", "loop.init_from=anchor", "loop.replay=[1.0]"])
def test_what_only_dpo_uses_is_refused_where_no_dpo_is_done(recipe: Path, override: str) -> None:
    with pytest.raises(RecipeError, match=rf"{override.split('=')[0]}.* is for DPO"):
        load_recipe(recipe, ["loop.train_on=positives", override], {})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop.use_eft=true", "set loop.use_eft=false"),
        ("pairs.margin=1", "leave out the section `pairs`"),
        ("loop.train_on=positives", "is for method='self_rewarding'"),
        ("prompts.source=self_instruct", "leave out prompts.source"),
    ],
)
def test_what_a_method_without_a_judge_cannot_use_is_refused(recipe: Path, override: str, message: str) -> None:
    overrides = ["method=spin", "loop.use_eft=false"]
    given = load_recipe(recipe, [*overrides, "sampling.n=1"], {})
    assert not method_of(given).needs_prompts(given)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [*overrides, override], {})


def test_a_judge_that_is_never_asked_is_not_taught(recipe: Path) -> None:
    outside = ["judging.annotator=engine", "loop.use_eft=false"]
    assert load_recipe(recipe, outside, {}).judging.annotator == "engine"
    with pytest.raises(RecipeError, match=r"loop\.use_eft=true teaches a judge that .* never asks: set it to false"):
        load_recipe(recipe, outside[:1], {})


def test_a_margin_of_the_models_own_answers_needs_a_teacher(recipe: Path) -> None:
    assert load_recipe(recipe, ["method=dno", "pairs.own_margin=1"], {}).pairs.own_margin == 1
    with pytest.raises(RecipeError, match=r"pairs\.own_margin is for method='dno'"):
        load_recipe(recipe, ["pairs.own_margin=1"], {})
    with pytest.raises(RecipeError, match=r"pairs\.length_control is for method='self_rewarding'"):
        load_recipe(recipe, ["method=dno", "pairs.length_control=0.1"], {})
    with pytest.raises(RecipeError, match=r"pairs\.length_control is for method='self_rewarding'"):
        load_recipe(recipe, ["method=dno", "pairs.length_control=[]"], {})
    with pytest.raises(RecipeError, match=r"method='dno' needs an answer with each prompt"):
        load_recipe(recipe, ["method=dno", "prompts.source=self_instruct"], {})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=meta_rewarding", "judging.votes=1"], r"judging\.votes=1 leaves no two judgments to compare"),
        (["method=meta_rewarding", "judging.annotator=engine", "loop.use_eft=false"], "leave out judging.annotator"),
        (["method=meta_rewarding", "meta.ridge=0"], r"meta\.ridge = 0: .*greater than 0"),
        (["method=meta_rewarding", "loop.train_on=positives"], "is for method='self_rewarding'"),
        (["meta.share=0.5"], "section `meta` is for method='meta_rewarding'"),
    ],
)
def test_what_a_meta_judge_needs_is_asked_for(recipe: Path, overrides: list[str], message: str) -> None:
    assert load_recipe(recipe, ["method=meta_rewarding", "pairs.length_control=[0.1, 0.4]"], {}).pairs.rho(1) == 0.4
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, overrides, {})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loop.use_eft=true"], "set loop.use_eft=false"),
        (["data.constitution=''"], r"data\.constitution is missing: give a file"),
        (["pairs.margin=1"], "of `pairs` give chosen_truncated alone"),
        (["constitution.clamp=[0.6, 0.7]"], r"clamp=\[0\.6, 0\.7\] is not around 0\.5"),
        (["constitution.clamp=[0.4, 0.6]", "constitution.soft_labels=false"], "clamp=.* is for soft labels"),
        (["method=self_rewarding"], "is for method='constitutional', not 'self_rewarding'"),
    ],
)
def test_what_a_constitution_needs_is_asked_for(recipe: Path, overrides: list[str], message: str) -> None:
    asked = ["method=constitutional", "loop.use_eft=false", "data.constitution=c.toml"]
    given = load_recipe(recipe, [*asked, "constitution.clamp=[0.4, 0.6]"], {})
    assert table(given, ConstitutionRules).clamp == (0.4, 0.6)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [*asked, *overrides], {})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["process.separator='; '"], "separator='; ' ends with a blank, which chat templates cut off"),
        (["process.separator=''"], r"process\.separator = ''"),
        (["sampling.n=9"], r"sampling\.n=9: method='process' compares .*give at most 8"),
        (["sampling.n=1"], r"sampling\.n=1 leaves nothing to prefer"),
        (["pairs.margin=1"], r"of `pairs` give judge_pairs alone"),
        (["loop.measure_consistency=true"], r"loop\.measure_consistency ranks several answers"),
        (["loop.train_on=positives"], "is for method='self_rewarding'"),
        (["method=self_rewarding"], "section `process` is for method='process', not 'self_rewarding'"),
    ],
)
def test_what_a_search_by_steps_cannot_use_is_refused(recipe: Path, overrides: list[str], message: str) -> None:
    asked = ["method=process", "process.max_steps=7"]
    given = load_recipe(recipe, [*asked, "process.judging.votes=2"], {})
    assert table(given, ProcessRules).separator == "\nStep"
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [*asked, *overrides], {})


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml", environment={})
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(RecipeError, match=r"broken.toml is not valid TOML"):
        load_recipe(broken, environment={})


def test_the_hash_follows_the_values_not_their_source(recipe: Path) -> None:
    assert load_recipe(recipe, [], {}).hash == load_recipe(recipe, ["sampling.n=4"], {}).hash
    assert load_recipe(recipe, [], {}).hash != load_recipe(recipe, ["sampling.n=5"], {}).hash


def test_shipped_recipes_resolve() -> None:
    data = ["model=base", "data.ift=a", "data.eft=b", "data.prompts=c", "data.heldout=d"]
    recipes = sorted(Path("recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        assert load_recipe(path, data, {}).name == path.stem


def test_nothing_in_a_recipe_runs_or_expands(recipe: Path) -> None:
    for text in (
        "__import__('os').getcwd()",
        "{name.__class__}",
        "{{ 7*7 }}",
        "${HOME}",
        "$(id)",
        "!!python/name:os.system",
    ):
        assert load_recipe(recipe, [f"model={text}"]).model == text
