"""A node that trains along: its processes of one attempt at the job of the first node, which leads.

The first node takes the job from the queue, tells of its progress and starts the attempt; the work folder is shared,
so the job's spec and its checkpoints are where they are for the first. Here torchrun waits for the first node's. An
attempt is over for all nodes at once: whoever runs them starts all of them again.
"""

import asyncio
import logging
import time

from selfreward.contracts.training import TrainStatus
from selfreward.processes.child import log_tail, start_child, stop_child
from selfreward.redis.connection import RedisClient
from services.trainer.settings import TrainerSettings
from services.trainer.worker.launch import job_environment, node_command, this_node
from services.trainer.worker.progress import SPEC_NAME
from services.trainer.worker.worker import read_status

_log = logging.getLogger(__name__)


class Follower:
    """The part of one job, `train_job`, that this node does."""

    def __init__(self, redis: RedisClient, settings: TrainerSettings, job_id: str) -> None:
        self._redis = redis
        self._settings = settings
        self._job_id = job_id
        self.last_turn = time.monotonic()
        """When the node last showed that it is alive (`time.monotonic`)."""
        self.outcome: TrainStatus | None = None
        """How the job ended, as far as this node has seen; None when its part failed."""

    async def run(self) -> None:
        """Take part in one attempt; cancelling stops this node's processes. Nothing is done of a job that has ended."""
        status = await read_status(self._redis, self._job_id)
        if status is not None and status.state in ("done", "failed"):
            self.outcome = status
            return
        # Beside the job's folder and not in it: that is the first node's to empty.
        folder = self._settings.job_folder(self._job_id).resolve()
        log = folder.with_name(f"{folder.name}.node-{this_node().rank}.log")
        child = start_child(node_command(folder / SPEC_NAME), log, job_environment())
        try:
            while child.poll() is None:
                self.last_turn = time.monotonic()
                await asyncio.sleep(self._settings.poll_seconds)
        finally:
            # Blocking on purpose: the loop may be closing, and the child must not outlive it.
            stop_child(child, self._settings.stop_seconds)
        if child.returncode == 0:
            self.outcome = TrainStatus(id=self._job_id, state="done")
        else:
            extra = {"job": self._job_id, "status": child.returncode, "log": log_tail(log)}
            _log.error("this node's part of the attempt ended", extra=extra)
