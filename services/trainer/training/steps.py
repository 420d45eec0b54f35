"""DPO on single steps of an answer (Step-DPO, as process-based self-rewarding trains, 2503.03746).

TRL opens a new assistant turn after a prompt that ends with one, and ends every completion with an end of turn. A step
follows the answer so far within one turn, and only the last step ends it. So such rows are made token ids here, as the
generator reads and writes them, and TRL takes them as they are.
"""

from typing import Any

from trl.trainer.dpo_trainer import DPOTrainer

from selfreward.contracts.judging import Message, PreferencePair
from services.trainer.training.checks import common_prefix, render


def pair_ids(tokenizer: Any, pair: PreferencePair) -> dict[str, list[int]]:
    """Token ids `prompt_ids`, `chosen_ids` and `rejected_ids` of a pair, of whole answers or of steps.

    The completions start where either sequence departs from the prompt's tokens, as TRL has it: a tokenizer may merge
    across the border.
    """
    begins = [message.content for message in pair.prompt[-1:] if message.role == "assistant" and pair.separator]
    prompt = render_begun(tokenizer, pair.prompt) if begins else render(tokenizer, pair.prompt, answer_next=True)
    asked = pair.prompt[: len(pair.prompt) - len(begins)]
    sides = []
    for side in (pair.chosen, pair.rejected):
        if pair.separator is None:
            sides.append(render(tokenizer, [*pair.prompt, *side]))
            continue
        text = "".join([*begins, side[-1].content])
        turns = [*asked, Message(role="assistant", content=text)]
        goes_on = text.endswith(pair.separator)
        sides.append(render_begun(tokenizer, turns) if goes_on else render(tokenizer, turns))
    start = min(common_prefix(prompt, side) for side in sides)
    return {"prompt_ids": prompt[:start], "chosen_ids": sides[0][start:], "rejected_ids": sides[1][start:]}


def render_begun(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a conversation whose last message is not at its end: no end of turn follows it."""
    turns = [message.model_dump() for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(turns, continue_final_message=True, tokenize=True, return_dict=False)
    return ids


class StepDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on rows that are token ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """The rows as they are: TRL would tokenise them again, from texts that they do not have."""
        return dataset
