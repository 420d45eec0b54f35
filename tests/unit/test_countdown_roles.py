"""Demonstrations of further roles of the demo's model: true, in its vocabulary, and as the judge service asks."""

from examples.countdown.reviews import verdict
from examples.countdown.roles import build_roles, meta_verdicts
from examples.countdown.seed_data import build
from examples.countdown.tokenizer import build_tokenizer
from services.judge.choice import sides
from services.judge.parse import read
from services.judge.rubric import SHIPPED, load_rubric

META = load_rubric(SHIPPED / "countdown_meta")


def test_a_verdict_on_two_reviews_names_the_right_one_and_can_be_read() -> None:
    form = sides(META.spec.verdict_label, tie=True)
    found = set()
    for row in meta_verdicts(0, 60):
        task, _, rest = row["prompt"].removeprefix("Which judge is right ? Task : ").partition(" Answer : ")
        answer, _, reviews = rest.partition(" Judge A : ")
        shown = dict(zip("ab", reviews.split(" Judge B : "), strict=True))
        winner = read(row["response"], "stop", form, None).value
        assert winner in shown
        assert shown[winner] == verdict(task, answer)
        assert shown["a"] != shown["b"]
        values = {"prompt": task, "response": answer, "judgement_a": shown["a"], "judgement_b": shown["b"]}
        assert META.template.fill_with(values) == row["prompt"], "the judge service asks as the demonstration does"
        found.add(winner)
    assert found == {"a", "b"}


def test_demonstrations_stand_after_the_ift_rows_in_words_that_the_model_knows() -> None:
    rows = build_roles(0, 30)["ift_meta"]
    assert rows[:-30] == build(0)["ift"]
    assert rows == build_roles(0, 30)["ift_meta"]
    assert rows[-30:] != build_roles(1, 30)["ift_meta"][-30:]
    tokenizer = build_tokenizer()
    for row in rows[-30:]:
        ids = tokenizer.encode(row["prompt"] + " " + row["response"])
        assert tokenizer.unk_token_id not in ids
        assert len(tokenizer.encode(row["response"])) < META.spec.sampling.max_tokens
