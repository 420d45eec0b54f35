"""Rubrics as data files: what is accepted, and what is refused with which words."""

from pathlib import Path

import pytest

from services.judge.rubrics.rubric import SHIPPED, RubricError, load_rubric, load_rubrics

TEMPLATE = "Grade.\n<answer>{response}</answer> to {prompt}\n"
SPEC = 'title = "T"\nscale = { min = 1, max = 10 }\nverdict_label = "Grade:"\ndelimiters = ["<answer>"]\n'


def write(folder: Path, spec: str = SPEC, template: str = TEMPLATE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rubric.toml").write_text(spec)
    (folder / "template.txt").write_text(template)
    return folder


def test_shipped_rubrics_load() -> None:
    rubrics = load_rubrics([SHIPPED])

    assert {
        name: (rubric.spec.kind, rubric.spec.scale.min, rubric.spec.scale.max) for name, rubric in rubrics.items()
    } == {
        "additive5": ("points", 0, 5),
        "additive6": ("points", 0, 6),
        "binary": ("binary", 0, 1),
        "arena": ("arena", 0, 1),
        "constitution": ("constitution", 0, 1),
        "constitution_cot": ("constitution", 0, 1),
        "countdown": ("points", 0, 5),
        "countdown_constitution": ("constitution", 0, 1),
        "countdown_meta": ("meta", 0, 1),
        "countdown_steps": ("pairwise", 0, 1),
        "criteria": ("criteria", 0, 1),
        "criteria_overall": ("criteria", 1, 10),
        "debate": ("debate", 0, 1),
        "meta": ("meta", 0, 1),
        "mtbench10": ("points", 1, 10),
        "mtbench10_reference": ("points", 1, 10),
        "pairwise": ("pairwise", 0, 1),
        "pairwise_reference": ("pairwise", 0, 1),
        "rank": ("rank", 0, 1),
    }
    assert all(rubric.id == f"{name}@sha256:{rubric.digest[:12]}" for name, rubric in rubrics.items())


def test_the_ids_of_published_rubrics_do_not_change() -> None:
    """Scores of earlier runs name them."""
    rubrics = load_rubrics([SHIPPED])

    assert rubrics["additive5"].id == "additive5@sha256:3677af25e75a"
    assert rubrics["countdown"].id == "countdown@sha256:868390f0710b"


def test_additive5_has_the_structure_of_the_paper() -> None:
    text = load_rubric(SHIPPED / "additive5").text

    assert text.count("(+1)") == 5
    places = [text.index(mark) for mark in ("(+1)", "{prompt}", "{response}", "100 words", "Score: <total points>")]
    assert places == sorted(places)


def test_the_id_changes_with_every_byte(tmp_path: Path) -> None:
    first = load_rubric(write(tmp_path / "r")).id
    assert load_rubric(write(tmp_path / "r")).id == first
    assert load_rubric(write(tmp_path / "r", template=TEMPLATE + " ")).id != first
    assert load_rubric(write(tmp_path / "r", spec=SPEC + "min_valid_votes = 1\n")).id != first


def test_own_rubrics_stand_beside_and_before_the_shipped_ones(tmp_path: Path) -> None:
    write(tmp_path / "mine")
    write(tmp_path / "additive5")

    rubrics = load_rubrics([SHIPPED, tmp_path])

    assert set(rubrics) == {"mine", *load_rubrics([SHIPPED])}
    assert rubrics["additive5"].spec.title == "T"


@pytest.mark.parametrize(
    ("spec", "template", "words"),
    [
        ("title = ", TEMPLATE, "is not valid TOML"),
        ("scale = { min = 1, max = 10 }\n", TEMPLATE, "title is missing: add it"),
        (SPEC + "votes = 3\n", TEMPLATE, "votes = 3: unknown key"),
        ('title = "T"\nscale = { min = 5, max = 0 }\n', TEMPLATE, "min=5 is not below max=0"),
        ('title = "T"\nmin_valid_votes = 0\n', TEMPLATE, "min_valid_votes = 0"),
        ('title = "T"\n[sampling]\ntemperature = 3\n', TEMPLATE, "sampling.temperature = 3"),
        ('title = "T"\nverdict_label = "Score"\n', TEMPLATE, "'Score' cannot be neutralised"),
        ('title = "T"\ndelimiters = ["END"]\n', TEMPLATE, "'END' cannot be neutralised"),
        ('title = "T"\ndelimiters = ["<reply>"]\n', TEMPLATE, "'<reply>' does not occur in template.txt"),
        (SPEC, "<answer> {prompt}", "never uses {response}"),
        ('title = "T"\nkind = "ranking"\n', TEMPLATE, "kind = 'ranking'"),
        ('title = "T"\nkind = ["points"]\n', TEMPLATE, "kind = ['points']"),
        ('title = "T"\nkind = "binary"\nscale = { min = 0, max = 5 }\n', TEMPLATE, "scale is 0 to 1 for kind 'binary'"),
        ('title = "T"\ncriteria = [{ text = "x" }]\n', TEMPLATE, "criteria are for kind 'criteria', not 'points'"),
        ('title = "T"\nprinciples = ["x"]\n', TEMPLATE, "principles are for 'constitution', not 'points'"),
        ('title = "T"\nlogprobs = true\n', TEMPLATE, "logprobs are for comparisons"),
        ('title = "T"\naggregation = "sum"\n', TEMPLATE, "aggregation = 'sum'"),
        (
            'title = "T"\naggregation = "expected"\nscale = { min = 1, max = 10 }\n',
            TEMPLATE,
            "scale of whole numbers within 0 to 9, not 'points' and 1 to 10",
        ),
        ('title = "T"\nkind = "pairwise"\naggregation = "median"\n', TEMPLATE, "aggregation='median' is for scores"),
        (
            'title = "T"\n[sampling]\nretry_max_tokens = 512\n',
            TEMPLATE,
            "retry_max_tokens=512 is not above max_tokens=512",
        ),
        ('title = "T"\nkind = "criteria"\nverdict_label = "Item:"\n', TEMPLATE, "verdict_label='Item:' needs one '#'"),
        ('title = "T"\nkind = "criteria"\n', TEMPLATE, "never uses {criteria}"),
        ('title = "T"\nkind = "pairwise"\n', TEMPLATE, "never uses {response_a}"),
        ('title = "T"\nkind = "meta"\n', TEMPLATE, "never uses {judgment_a}"),
        (
            'title = "T"\nkind = "meta"\n',
            TEMPLATE + "{judg" + "ement_a}",
            "`{judg" + "ement_a}` is spelled `{judgment_a}` since 0.2.0: rename it",
        ),
        ('title = "T"\nkind = "rank"\n', TEMPLATE, "never uses {candidates}"),
        ('title = "T"\nkind = "constitution"\n', "{prompt} {response_a} {response_b}", "never uses {principle}"),
        (SPEC, "<answer> {respones} {response}", "never uses {prompt}"),
    ],
)
def test_a_bad_rubric_is_refused_with_the_field_and_the_remedy(
    tmp_path: Path, spec: str, template: str, words: str
) -> None:
    with pytest.raises(RubricError) as caught:
        load_rubric(write(tmp_path / "bad", spec, template))

    assert str(caught.value).startswith("rubric bad: ")
    assert words in str(caught.value)


def test_the_debaters_text_is_part_of_a_debate_and_of_its_id(tmp_path: Path) -> None:
    spec = 'title = "T"\nkind = "debate"\ndebate = { rounds = 1 }\n'
    folder = write(tmp_path / "d", spec, "{prompt} {response_a} {response_b} {debate}")

    with pytest.raises(RubricError, match=r"d/argue\.txt is missing: add it"):
        load_rubric(folder)
    (folder / "argue.txt").write_text("{prompt} {response_a} {response_b} {debate} for {side}")
    first = load_rubric(folder)
    (folder / "argue.txt").write_text("{prompt} {response_a} {response_b} {debate} against {side}")
    assert load_rubric(folder).id != first.id
    (folder / "argue.txt").write_text("{prompt} {response_a} {response_b} {debate}")
    with pytest.raises(RubricError, match=r"d/argue\.txt: the template never uses \{side\}"):
        load_rubric(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(RubricError, match=r"rubric\.toml is missing"):
        load_rubric(tmp_path / "empty")
    with pytest.raises(RubricError, match="is not a folder"):
        load_rubrics([tmp_path / "nowhere"])
