"""DPO on single steps of an answer (Step-DPO, as process-based self-rewarding trains, 2503.03746).

TRL opens a new assistant turn after a prompt that ends with one, and ends every completion with an end of turn. A step
follows the answer so far within one turn, and only the last step ends it. So such rows are made token ids here, as the
generator reads and writes them, and TRL takes them as they are.
"""

from typing import Any

from trl.trainer.dpo_trainer import DPOTrainer


class StepDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on rows that are token ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """The rows as they are: TRL would tokenise them again, from texts that they do not have."""
        return dataset
