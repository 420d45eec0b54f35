"""Training jobs as objects in a Kubernetes cluster. A trainer starts for each job and ends with it, so no GPU is idle.

Names are derived from the job, so creating it twice is idempotent, whichever replica leads. Redis has the job and its
progress, as for waiting trainers.
"""

import logging
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config
from urllib3.exceptions import HTTPError

from orchestrator.cluster.templates import CronJobTemplate, JobTemplate, RuntimeTemplate
from orchestrator.runs.errors import RunFailed
from orchestrator.settings import OrchestratorSettings
from selfreward.contracts.training import TrainJob
from selfreward.server.startup import StartRefused

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# 0: no answer; 401: the token is being renewed.
_TRANSIENT = (0, 401, 408, 409, 429)
_log = logging.getLogger(__name__)


class TrainerJobs:
    """The cluster's objects for training jobs, created from one template. The methods block, so call them in a thread.

    An unreachable or busy API server is no error: the next call tries again. Permanent errors (missing rights, a
    refused template) raise RunFailed with the remedy.
    """

    def __init__(self, template: JobTemplate) -> None:
        self._template = template

    def clear(self, job: TrainJob) -> bool:
        """Remove an ended object of an earlier attempt, which would be taken for the end of the new one.

        False if the API did not confirm it: call again.
        """
        try:
            existing = self._find(job)
            if existing is None or not _outcome(existing):
                return True
            options = client.V1DeleteOptions(
                propagation_policy="Background", preconditions=client.V1Preconditions(uid=existing["metadata"]["uid"])
            )
            self._template.delete(existing["metadata"]["name"], options)
        except (ApiException, HTTPError) as error:
            if not isinstance(error, ApiException) or error.status not in (404, 409):
                self._raise_if_permanent(error)
                return False
        return True

    def poll(self, job: TrainJob) -> str:
        """How the object ended; empty while it runs. Creates the object if there is none."""
        try:
            existing = self._find(job)
            if existing is None:
                self._create(job)
        except (ApiException, HTTPError) as error:
            self._raise_if_permanent(error)
            return ""
        return _outcome(existing) if existing is not None else ""

    def _find(self, job: TrainJob) -> dict[str, Any] | None:
        try:
            return self._template.read(self._template.name(job))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _create(self, job: TrainJob) -> None:
        try:
            self._template.create(job)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            _log.info("training job created in the cluster", extra={"job": job.id, "object": self._template.name(job)})

    def _raise_if_permanent(self, error: ApiException | HTTPError) -> None:
        """Raises RunFailed for an error that no retry can solve."""
        if not isinstance(error, ApiException) or error.status in _TRANSIENT or error.status >= 500:
            _log.warning("the Kubernetes API does not answer or is busy; trying again", extra={"error": str(error)})
            return
        title = self._template.title
        remedy = self._template.remedies.get(error.status, f"check the {title}")
        answer = f"{error.status} {error.reason}: {error.body}"
        raise RunFailed(f"Kubernetes refuses a training job from the {title} ({answer}): {remedy}") from error


def in_cluster(settings: OrchestratorSettings) -> TrainerJobs:
    """TrainerJobs in this pod's namespace, by its service account, with the template that the settings name.

    Raises StartRefused for two templates, or outside a pod.
    """
    cronjob, runtime = settings.trainer_cronjob, settings.trainer_runtime
    named = f"SELFREWARD_TRAINER_CRONJOB={cronjob}" if cronjob else f"SELFREWARD_TRAINER_RUNTIME={runtime}"
    if cronjob and runtime:
        raise StartRefused(f"{named} and SELFREWARD_TRAINER_RUNTIME={runtime}: leave out one of them")
    configuration = client.Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
        namespace = _NAMESPACE.read_text().strip()
    except (ConfigException, OSError) as error:
        raise StartRefused(
            f"{named} needs a pod with the token of a service account ({error}): mount it, or leave the variable out "
            "and run waiting trainers"
        ) from error
    api = client.ApiClient(configuration)
    if cronjob:
        return TrainerJobs(CronJobTemplate(api, namespace, cronjob))
    return TrainerJobs(RuntimeTemplate(api, namespace, str(runtime)))


def _outcome(job: dict[str, Any]) -> str:
    """How an object ended, from its conditions; empty while it runs and while it is being removed."""
    metadata = job["metadata"]
    conditions = [] if metadata.get("deletionTimestamp") else job.get("status", {}).get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            reason = ": ".join(filter(None, [condition.get("reason"), condition.get("message")]))
            state = condition["type"].lower()
            return (
                f"Kubernetes {job['kind']} {metadata['name']} is {state}, and its trainer reported no result ({reason})"
            )
    return ""
