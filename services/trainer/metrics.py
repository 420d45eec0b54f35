"""Prometheus metrics of the trainer."""

from prometheus_client import Counter, Gauge, Histogram

from selfreward.contracts.training import TrainStatus

STEP = Gauge("selfreward_trainer_step", "Step of the job in work.")
TOTAL_STEPS = Gauge("selfreward_trainer_total_steps", "Steps of the job in work.")
LOSS = Gauge("selfreward_trainer_loss", "Newest training loss of the job in work.")
ACCURACY = Gauge(
    "selfreward_trainer_rewards_accuracy_ratio", "Share of DPO pairs whose chosen answer has the higher reward."
)
BUSY = Gauge("selfreward_trainer_busy", "1 while a job is in work.")
JOBS = Counter("selfreward_trainer_jobs", "Jobs ended, by outcome.", ["method", "outcome"])
JOB_SECONDS = Histogram(
    "selfreward_trainer_job_duration_seconds",
    "Time of a successful attempt at a job, from start to published.",
    ["method"],
    buckets=(5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400),
)


def show(status: TrainStatus) -> None:
    """Set the gauges from a job's status."""
    STEP.set(status.step)
    TOTAL_STEPS.set(status.total_steps)
    if "loss" in status.metrics:
        LOSS.set(status.metrics["loss"])
    if "rewards/accuracies" in status.metrics:
        ACCURACY.set(status.metrics["rewards/accuracies"])
