"""What a training job becomes in a cluster: a Job of a suspended CronJob, or a TrainJob by a Kubeflow TrainingRuntime.

What the pods look like is the cluster's own matter and is written there, in the template. A TrainJob runs on several
nodes: as many as hold the job's processes at the runtime's processes for each node.
"""

import hashlib
import re
from typing import Any, Protocol

from kubernetes import client

from orchestrator.runs.errors import RunFailed
from selfreward.contracts.training import TrainJob

VARIABLE = "SELFREWARD_TRAIN_JOB"
KUBEFLOW = ("trainer.kubeflow.org", "v1alpha1")
_ANNOTATION = "selfreward/train-job"
_DEADLINE = (5.0, 20.0)


class JobTemplate(Protocol):
    """What is made of a template in one namespace. All but `name` raise ApiException or HTTPError."""

    title: str
    """Kind and name of the template, for messages."""
    remedies: dict[int, str]
    """What to do about some of the API's answers, by status."""

    def name(self, job: TrainJob) -> str:
        """Name of what is made: the same for the same job, another for another job of the same id."""

    def read(self, name: str) -> dict[str, Any]:
        """What is there under a name, as JSON."""

    def make(self, job: TrainJob) -> None:
        """Make it. Raises RunFailed for a template that does not fit the job."""

    def delete(self, name: str, options: Any) -> None:
        """Delete it."""


class CronJobTemplate:
    """Jobs of a suspended CronJob, as `kubectl create job --from=cronjob/NAME` makes them."""

    def __init__(self, api: "client.ApiClient", namespace: str, cronjob: str) -> None:
        self._client = api
        self._batch = client.BatchV1Api(api)
        self._namespace = namespace
        self._cronjob = cronjob
        self.title = f"CronJob {cronjob}"
        self.remedies = {
            403: "give the orchestrator's service account the Role of k8s/base/accounts.yaml",
            404: "apply k8s/base/trainer.yaml, or correct SELFREWARD_TRAINER_CRONJOB",
        }

    def name(self, job: TrainJob) -> str:
        """As `JobTemplate` says."""
        return job_name(job, 40)

    def read(self, name: str) -> dict[str, Any]:
        """As `JobTemplate` says."""
        found = self._batch.read_namespaced_job(name, self._namespace, _request_timeout=_DEADLINE)
        read: dict[str, Any] = self._client.sanitize_for_serialization(found)
        return read

    def make(self, job: TrainJob) -> None:
        """As `JobTemplate` says."""
        held = self._batch.read_namespaced_cron_job(self._cronjob, self._namespace, _request_timeout=_DEADLINE)
        body = job_body(held.spec.job_template, job, self.name(job))
        self._batch.create_namespaced_job(self._namespace, body, _request_timeout=_DEADLINE)

    def delete(self, name: str, options: Any) -> None:
        """As `JobTemplate` says."""
        self._batch.delete_namespaced_job(name, self._namespace, body=options, _request_timeout=_DEADLINE)


class RuntimeTemplate:
    """TrainJobs by a TrainingRuntime. They have its labels, so that Kueue's queue is named there."""

    def __init__(self, api: "client.ApiClient", namespace: str, runtime: str) -> None:
        self._custom = client.CustomObjectsApi(api)
        self._namespace = namespace
        self._runtime = runtime
        self.title = f"TrainingRuntime {runtime}"
        self.remedies = {
            403: "give the orchestrator's service account the Role of k8s/components/multinode/accounts.yaml",
            404: "install Kubeflow Trainer and apply k8s/components/multinode, or correct SELFREWARD_TRAINER_RUNTIME",
        }

    def name(self, job: TrainJob) -> str:
        """As `JobTemplate` says. The node's number and two suffixes have to fit into a pod's name beside it."""
        return job_name(job, 24)

    def read(self, name: str) -> dict[str, Any]:
        """As `JobTemplate` says."""
        return self._get("trainjobs", name)

    def make(self, job: TrainJob) -> None:
        """As `JobTemplate` says."""
        body = train_job_body(self._get("trainingruntimes", self._runtime), job, self.name(job))
        self._custom.create_namespaced_custom_object(
            *KUBEFLOW, self._namespace, "trainjobs", body, _request_timeout=_DEADLINE
        )

    def delete(self, name: str, options: Any) -> None:
        """As `JobTemplate` says."""
        self._custom.delete_namespaced_custom_object(
            *KUBEFLOW, self._namespace, "trainjobs", name, body=options, _request_timeout=_DEADLINE
        )

    def _get(self, plural: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._custom.get_namespaced_custom_object(
            *KUBEFLOW, self._namespace, plural, name, _request_timeout=_DEADLINE
        )
        return found


def job_name(job: TrainJob, slug: int) -> str:
    """`train-`, at most `slug` characters of the job's id, and a digest of all of it."""
    readable = re.sub("[^a-z0-9]+", "-", job.id)[:slug].strip("-")
    digest = hashlib.sha256(job.model_dump_json().encode()).hexdigest()
    return f"train-{readable}-{digest[:8]}"


def job_body(template: Any, job: TrainJob, name: str) -> Any:
    """The Job (`V1Job`) that a CronJob's template (`V1JobTemplateSpec`) makes of a training job."""
    held = template.metadata or client.V1ObjectMeta()
    metadata = client.V1ObjectMeta(
        name=name, labels=held.labels, annotations={**(held.annotations or {}), _ANNOTATION: job.id}
    )
    container = template.spec.template.spec.containers[0]
    container.env = [*(container.env or []), client.V1EnvVar(name=VARIABLE, value=job.id)]
    return client.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=template.spec)


def train_job_body(runtime: dict[str, Any], job: TrainJob, name: str) -> dict[str, Any]:
    """The TrainJob that a TrainingRuntime makes of a training job. Raises RunFailed where its processes do not fit."""
    held, group = runtime["metadata"], KUBEFLOW[0]
    each = runtime["spec"].get("mlPolicy", {}).get("torch", {}).get("numProcPerNode")
    if not isinstance(each, int):
        raise RunFailed(
            f"TrainingRuntime {held['name']} has mlPolicy.torch.numProcPerNode={each!r}: give the number of GPUs that "
            "each of its pods asks for"
        )
    if job.world_size > each and job.world_size % each:
        raise RunFailed(
            f"world_size={job.world_size} does not fill nodes of numProcPerNode={each} (TrainingRuntime "
            f"{held['name']}): set trainer.world_size to a multiple of {each}"
        )
    return {
        "apiVersion": "/".join(KUBEFLOW),
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": held.get("labels", {}), "annotations": {_ANNOTATION: job.id}},
        "spec": {
            "runtimeRef": {"apiGroup": group, "kind": "TrainingRuntime", "name": held["name"]},
            "trainer": {
                "numNodes": max(1, job.world_size // each),
                "numProcPerNode": min(job.world_size, each),
                "env": [{"name": VARIABLE, "value": job.id}],
            },
        },
    }
