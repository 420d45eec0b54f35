"""The world's word-level tokenizer: one token per word, decoded back to exactly the same text."""

from __future__ import annotations

from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from examples.worlds.countdown.attempts import CHAT_TAILS
from examples.worlds.countdown.reviews import CAREFUL, RUBRIC

CONTEXT_LENGTH: Final = 512
PAD: Final = "<|pad|>"
UNKNOWN: Final = "<unk>"
END: Final = "<|eos|>"
ROLES: Final = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY_SIZE: Final = 512

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_WORDS: Final = (
    "Use to make . ; + - * = , ! ? : ( ) yes no Yes No Score: Score Verdict Verdict: Compute Come up "
    "with a an the series of task tasks tasks: Task Task: Answer Answer: Review Review: Check Careful "
    "Question Question: Response Response: User User: points point each out give Give and or not "
    "is are was be it this that you your I we my me need more help helps hope know let thank for "
    "from in on at by as if then than answer number used given right wrong result results sum "
    "better worse best first second third last one two three four five zero A B C D E Which which "
    "judge Judge rank Rank pair preference Preference Winner winner tie step Step all every only "
    "Instruction Instruction: Rubric Rubric: reward total Total total: think Think so because but"
)


def vocabulary() -> list[str]:
    """Every token in id order: special tokens, newline, 0-99, list numbers, words, spare slots."""
    sources = [_WORDS, RUBRIC.replace("{prompt}", "").replace("{response}", ""), CAREFUL]
    words = " ".join([*sources, *CHAT_TAILS, "format numbers all steps target none big"]).split()
    tokens = [PAD, UNKNOWN, END, *ROLES, "\n", *map(str, range(100)), *(f"{n}." for n in range(1, 41)), *words]
    unique = list(dict.fromkeys(tokens))
    spare = [f"<|spare{n}|>" for n in range(VOCABULARY_SIZE - len(unique))]
    return unique + spare


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with decode(encode(text)) == text for words separated by one space or newline.

    A newline is a token of its own, so that numbered lists can be split as in ordinary text.
    """
    ids = {token: number for number, token in enumerate(vocabulary())}
    backend = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
        ]
    )
    # No word begins with the prefix, so this decoder only puts a space before each later word.
    backend.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="<|joined|>", cleanup=False),
            decoders.Replace(" \n", "\n"),
            decoders.Fuse(),
            decoders.Replace("\n ", "\n"),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
