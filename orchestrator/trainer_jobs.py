"""Training jobs as Kubernetes Jobs: a trainer is started for each and ends with it, so that no GPU waits for work.

What the pod looks like is the cluster's own matter. A suspended CronJob holds it, and a Job is made of that as
`kubectl create job --from=cronjob/NAME` does. Its name follows from the training job, so that making it twice, by
whichever replica leads, is making it once. Redis has the job itself and its progress, as for trainers that wait.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config
from urllib3.exceptions import HTTPError

from orchestrator.context import RunFailed
from selfreward.startup import StartRefused
from selfreward.training import TrainJob

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_VARIABLE = "SELFREWARD_TRAIN_JOB"
_DEADLINE = (5.0, 20.0)
# 0: no answer; 401: the token is just being renewed.
_PASSING = (0, 401, 408, 409, 429)
_REMEDIES = {
    403: "give the orchestrator's service account the Role of k8s/base/accounts.yaml",
    404: "apply k8s/base/trainer.yaml, or correct SELFREWARD_TRAINER_CRONJOB",
}
_log = logging.getLogger(__name__)


class TrainerJobs:
    """The Jobs of one namespace, made from the CronJob `cronjob`. Its methods block, so call them in a thread.

    An API server that is away or busy is no error: the same is tried again at the next look. What no other try can
    mend (rights that are missing, a template that is refused) raises RunFailed with the remedy.
    """

    def __init__(self, api: "client.BatchV1Api", namespace: str, cronjob: str) -> None:
        self._api = api
        self._namespace = namespace
        self._cronjob = cronjob

    @classmethod
    def in_cluster(cls, cronjob: str) -> "TrainerJobs":
        """With the service account of this pod. Raises StartRefused outside a pod."""
        configuration = client.Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
            namespace = _NAMESPACE.read_text().strip()
        except (ConfigException, OSError) as error:
            raise StartRefused(
                f"SELFREWARD_TRAINER_CRONJOB={cronjob} needs a pod with the token of a service account ({error}): "
                "mount it, or leave the variable out and run trainers that wait for jobs"
            ) from error
        return cls(client.BatchV1Api(client.ApiClient(configuration)), namespace, cronjob)

    def clear(self, job: TrainJob) -> bool:
        """Before a new attempt at a job, remove the ended Job of an earlier one, which would be taken for the new end.

        False when the API gave no answer that says so: clear again.
        """
        try:
            found = self._find(job)
            if found is None or not _end(found):
                return True
            options = client.V1DeleteOptions(
                propagation_policy="Background", preconditions=client.V1Preconditions(uid=found.metadata.uid)
            )
            self._api.delete_namespaced_job(
                found.metadata.name, self._namespace, body=options, _request_timeout=_DEADLINE
            )
        except (ApiException, HTTPError) as error:
            if not isinstance(error, ApiException) or error.status not in (404, 409):
                self._judge(error)
                return False
        return True

    def look(self, job: TrainJob) -> str:
        """How the Job ended, empty while it has not. Makes it when there is none."""
        try:
            found = self._find(job)
            if found is None:
                self._make(job)
        except (ApiException, HTTPError) as error:
            self._judge(error)
            return ""
        return _end(found) if found is not None else ""

    def _find(self, job: TrainJob) -> Any:
        try:
            return self._api.read_namespaced_job(job_name(job), self._namespace, _request_timeout=_DEADLINE)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _make(self, job: TrainJob) -> None:
        held = self._api.read_namespaced_cron_job(self._cronjob, self._namespace, _request_timeout=_DEADLINE)
        body = job_body(held.spec.job_template, job)
        try:
            self._api.create_namespaced_job(self._namespace, body, _request_timeout=_DEADLINE)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            _log.info("Kubernetes Job made", extra={"job": job.id, "name": body.metadata.name})

    def _judge(self, error: ApiException | HTTPError) -> None:
        """Raises RunFailed for an answer that stays the same however often one asks."""
        if not isinstance(error, ApiException) or error.status in _PASSING or error.status >= 500:
            _log.warning("the Kubernetes API gives no answer that helps; asking again", extra={"error": str(error)})
            return
        remedy = _REMEDIES.get(error.status, f"see what is wrong with the CronJob {self._cronjob}")
        raise RunFailed(
            f"Kubernetes refuses a Job from the CronJob {self._cronjob} in {self._namespace} "
            f"({error.status} {error.reason}: {error.body}): {remedy}"
        ) from error


def job_name(job: TrainJob) -> str:
    """Name of a training job's Job: the same for the same job, another for another job of the same id."""
    slug = re.sub("[^a-z0-9]+", "-", job.id)[:40].strip("-")
    digest = hashlib.sha256(job.model_dump_json().encode()).hexdigest()
    return f"train-{slug}-{digest[:8]}"


def job_body(template: Any, job: TrainJob) -> Any:
    """The Job (`V1Job`) that a CronJob's template (`V1JobTemplateSpec`) makes of a training job."""
    held = template.metadata or client.V1ObjectMeta()
    metadata = client.V1ObjectMeta(
        name=job_name(job),
        labels=held.labels,
        annotations={**(held.annotations or {}), "selfreward/train-job": job.id},
    )
    container = template.spec.template.spec.containers[0]
    container.env = [*(container.env or []), client.V1EnvVar(name=_VARIABLE, value=job.id)]
    return client.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=template.spec)


def _end(found: Any) -> str:
    """What the Job's conditions say of its end; empty while there is none, and for a Job that is being removed."""
    conditions = [] if found.metadata.deletion_timestamp else found.status.conditions or []
    for condition in conditions:
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            said = ": ".join(filter(None, [condition.reason, condition.message]))
            state = condition.type.lower()
            return f"Kubernetes Job {found.metadata.name} is {state}, and its trainer told no result ({said})"
    return ""
