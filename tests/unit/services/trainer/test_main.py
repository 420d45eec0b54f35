"""What the trainer's process ends with."""

import os

from selfreward.contracts.training import TrainStatus
from services.trainer.__main__ import exit_status


def test_exit_statuses_are_those_of_the_pod_failure_policy() -> None:
    assert exit_status(TrainStatus(id="a", state="done")) == 0
    assert exit_status(TrainStatus(id="a", state="failed")) == os.EX_DATAERR == 65
    assert exit_status(None) == 1
