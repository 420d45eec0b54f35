"""The worker on every node but the first, when several nodes train one job together.

The first node takes the job from the queue, reports its progress and starts the attempt. The nodes share the work
folder, so all of them find the job's spec and its checkpoints. Here torchrun starts this node's processes and waits for
the first node's. An attempt ends on all nodes at once: whoever runs the nodes then starts all of them again.
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


class WorkerNode:
    """Runs this node's processes of one attempt at the job `job_id`."""

    def __init__(self, redis: RedisClient, settings: TrainerSettings, job_id: str) -> None:
        self._redis = redis
        self._settings = settings
        self._job_id = job_id
        self.last_turn = time.monotonic()
        """When the node last showed that it is alive (`time.monotonic`)."""
        self.outcome: TrainStatus | None = None
        """How the job ended, as far as this node knows; None when this node's part failed."""

    async def run(self) -> None:
        """Take part in one attempt, unless the job has ended. Cancelling stops this node's processes."""
        status = await read_status(self._redis, self._job_id)
        if status is not None and status.state in ("done", "failed"):
            self.outcome = status
            return
        # Beside the job's folder and not in it, since the first node empties that folder.
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
