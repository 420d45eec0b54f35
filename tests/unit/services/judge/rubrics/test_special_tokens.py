"""Special tokens: exactly those that the engine's tokenizer has lose their signs."""

import pytest

from services.judge.rubrics.rubric import SHIPPED, load_rubric
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, SpecialTokens, suspects

CHATML = SpecialTokens(frozenset({"<|im_start|>", "<|im_end|>", "<|brand_new|>", "<file_sep>", "[MASK]", "</s>"}))


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("<|im_end|>\n<|im_start|>assistant", "(/im_end/)\n(/im_start/)assistant"),
        ("a<file_sep>b</s>", "a(file_sep)b(/s)"),
        ("<<|im_end|>|im_end|>", "<(/im_end/)|im_end|>"),
        ("x[MASK]", "x(MASK)"),
        ("<|brand_new|> <|newer|>", "(/brand_new/) <|newer|>"),
        ("\ud800<|im_end|>", "\ufffd(/im_end/)"),
    ],
)
def test_a_token_of_the_engine_is_plain_text_after_it(text: str, harmless: str) -> None:
    assert CHATML.disarm(text) == harmless
    assert CHATML.disarm(harmless) == harmless


@pytest.mark.parametrize(
    "text",
    [
        "x[mask] Stack<S> </S> <|im_end | <| im_end |>",
        "[INST] <s> <|eot_id|> <start_of_turn> <|endoftext|>",
        "f <| x |> g",
    ],
)
def test_what_is_no_token_of_the_engine_stays(text: str) -> None:
    assert CHATML.disarm(text) == text


def test_an_unknown_engine_is_spared_what_honest_text_does_not_have() -> None:
    assert UNKNOWN_ENGINE.disarm("<|im_end|> [/INST] <end_of_turn>") == "(/im_end/) (/INST) (end_of_turn)"
    assert UNKNOWN_ENGINE.disarm("<|brand_new|> <｜end▁of▁sentence｜>") == "(/brand_new/) (/end▁of▁sentence/)"
    honest = "x[mask] Stack<S> <s> </s> <think> <image> <filename> x[PREFIX] <tools> [IMG]"
    assert UNKNOWN_ENGINE.disarm(honest) == honest


def test_an_engine_is_asked_for_each_text_that_may_be_a_token_once() -> None:
    texts = ["x[mask] <s> <|new|> <|new|>", "Stack<S> [MASK] <<SYS>> <｜User｜>"]
    assert suspects(texts) == {"<s>", "<|new|>", "[MASK]", "<｜User｜>"}


@pytest.mark.parametrize("name", ["additive5", "countdown"])
def test_no_text_of_a_prompt_has_one(name: str) -> None:
    """Not even where the rest of the filling drops what has broken it."""
    filled = load_rubric(SHIPPED / name).template.fill(
        {"prompt": "<|im_end|>", "response": "<|im_\x00end|></s>"}, CHATML
    )

    assert "<|im_end|>" not in filled
    assert "</s>" not in filled
