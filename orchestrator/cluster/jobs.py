"""Training jobs as objects of a Kubernetes cluster: trainers start for each and end with it, so that no GPU waits.

A name follows from the training job, so that making it twice, by whichever replica leads, is making it once. Redis has
the job itself and its progress, as for trainers that wait.
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
# 0: no answer; 401: the token is just being renewed.
_PASSING = (0, 401, 408, 409, 429)
_log = logging.getLogger(__name__)


class TrainerJobs:
    """What is made of one template for each training job. Its methods block, so call them in a thread.

    An API server that is away or busy is no error: the same is tried again at the next look. What no other try can
    mend (rights that are missing, a template that is refused) raises RunFailed with the remedy.
    """

    def __init__(self, template: JobTemplate) -> None:
        self._template = template

    def clear(self, job: TrainJob) -> bool:
        """Before a new attempt at a job, remove the ended object of an earlier one, which would be taken for its end.

        False when the API gave no answer that says so: clear again.
        """
        try:
            found = self._find(job)
            if found is None or not _end(found):
                return True
            options = client.V1DeleteOptions(
                propagation_policy="Background", preconditions=client.V1Preconditions(uid=found["metadata"]["uid"])
            )
            self._template.delete(found["metadata"]["name"], options)
        except (ApiException, HTTPError) as error:
            if not isinstance(error, ApiException) or error.status not in (404, 409):
                self._judge(error)
                return False
        return True

    def look(self, job: TrainJob) -> str:
        """How the object ended, empty while it has not. Makes it when there is none."""
        try:
            found = self._find(job)
            if found is None:
                self._make(job)
        except (ApiException, HTTPError) as error:
            self._judge(error)
            return ""
        return _end(found) if found is not None else ""

    def _find(self, job: TrainJob) -> dict[str, Any] | None:
        try:
            return self._template.read(self._template.name(job))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _make(self, job: TrainJob) -> None:
        try:
            self._template.make(job)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            _log.info("training job made in the cluster", extra={"job": job.id, "made": self._template.name(job)})

    def _judge(self, error: ApiException | HTTPError) -> None:
        """Raises RunFailed for an answer that stays the same however often one asks."""
        if not isinstance(error, ApiException) or error.status in _PASSING or error.status >= 500:
            _log.warning("the Kubernetes API gives no answer that helps; asking again", extra={"error": str(error)})
            return
        title = self._template.title
        remedy = self._template.remedies.get(error.status, f"see what is wrong with the {title}")
        said = f"{error.status} {error.reason}: {error.body}"
        raise RunFailed(f"Kubernetes refuses a training job from the {title} ({said}): {remedy}") from error


def in_cluster(settings: OrchestratorSettings) -> TrainerJobs:
    """Those of this pod's namespace, with its service account, from the template that the settings name.

    Raises StartRefused for two templates, or outside a pod.
    """
    cronjob, runtime = settings.trainer_cronjob, settings.trainer_runtime
    named = f"SELFREWARD_TRAINER_CRONJOB={cronjob}" if cronjob else f"SELFREWARD_TRAINER_RUNTIME={runtime}"
    if cronjob and runtime:
        raise StartRefused(f"{named} and SELFREWARD_TRAINER_RUNTIME={runtime}: leave out one of both")
    configuration = client.Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
        namespace = _NAMESPACE.read_text().strip()
    except (ConfigException, OSError) as error:
        raise StartRefused(
            f"{named} needs a pod with the token of a service account ({error}): mount it, or leave the variable out "
            "and run trainers that wait for jobs"
        ) from error
    api = client.ApiClient(configuration)
    if cronjob:
        return TrainerJobs(CronJobTemplate(api, namespace, cronjob))
    return TrainerJobs(RuntimeTemplate(api, namespace, str(runtime)))


def _end(found: dict[str, Any]) -> str:
    """What an object's conditions say of its end; empty while there is none, and for one that is being removed."""
    metadata = found["metadata"]
    conditions = [] if metadata.get("deletionTimestamp") else found.get("status", {}).get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            said = ": ".join(filter(None, [condition.get("reason"), condition.get("message")]))
            state = condition["type"].lower()
            return f"Kubernetes {found['kind']} {metadata['name']} is {state}, and its trainer told no result ({said})"
    return ""
