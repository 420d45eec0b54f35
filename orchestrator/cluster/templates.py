"""Templates of training jobs in a cluster: Jobs of a suspended CronJob, or TrainJobs of a Kubeflow TrainingRuntime.

The template in the cluster specifies the pods. A TrainJob runs on as many nodes as the job's processes fill, at the
runtime's number of processes for each node.
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
    """Creates objects from a template in one namespace. All methods but `name` raise ApiException or HTTPError."""

    title: str
    """Kind and name of the template, for messages."""
    remedies: dict[int, str]
    """Remedies by the API's status."""

    def name(self, job: TrainJob) -> str:
        """Name of the object: the same for the same job, different for another job of the same id."""

    def read(self, name: str) -> dict[str, Any]:
        """The object of a name, as JSON."""

    def create(self, job: TrainJob) -> None:
        """Create the object. Raises RunFailed for a template that does not fit the job."""

    def delete(self, name: str, options: Any) -> None:
        """Delete the object."""


class CronJobTemplate:
    """Jobs of a suspended CronJob, as `kubectl create job --from=cronjob/NAME` creates them."""

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
        job = self._batch.read_namespaced_job(name, self._namespace, _request_timeout=_DEADLINE)
        as_json: dict[str, Any] = self._client.sanitize_for_serialization(job)
        return as_json

    def create(self, job: TrainJob) -> None:
        """As `JobTemplate` says."""
        cronjob = self._batch.read_namespaced_cron_job(self._cronjob, self._namespace, _request_timeout=_DEADLINE)
        body = job_body(cronjob.spec.job_template, job, self.name(job))
        self._batch.create_namespaced_job(self._namespace, body, _request_timeout=_DEADLINE)

    def delete(self, name: str, options: Any) -> None:
        """As `JobTemplate` says."""
        self._batch.delete_namespaced_job(name, self._namespace, body=options, _request_timeout=_DEADLINE)


class RuntimeTemplate:
    """TrainJobs of a TrainingRuntime. They take its labels, which name Kueue's queue."""

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
        """As `JobTemplate` says. A pod's name also contains the node's number and two suffixes."""
        return job_name(job, 24)

    def read(self, name: str) -> dict[str, Any]:
        """As `JobTemplate` says."""
        return self._get("trainjobs", name)

    def create(self, job: TrainJob) -> None:
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
        item: dict[str, Any] = self._custom.get_namespaced_custom_object(
            *KUBEFLOW, self._namespace, plural, name, _request_timeout=_DEADLINE
        )
        return item


def job_name(job: TrainJob, slug: int) -> str:
    """`train-`, at most `slug` characters of the job's id, and a digest of all of it."""
    readable = re.sub("[^a-z0-9]+", "-", job.id)[:slug].strip("-")
    digest = hashlib.sha256(job.model_dump_json().encode()).hexdigest()
    return f"train-{readable}-{digest[:8]}"


def job_body(template: Any, job: TrainJob, name: str) -> Any:
    """The Job (`V1Job`) of a training job, by a CronJob's template (`V1JobTemplateSpec`)."""
    template_metadata = template.metadata or client.V1ObjectMeta()
    metadata = client.V1ObjectMeta(
        name=name,
        labels=template_metadata.labels,
        annotations={**(template_metadata.annotations or {}), _ANNOTATION: job.id},
    )
    container = template.spec.template.spec.containers[0]
    container.env = [*(container.env or []), client.V1EnvVar(name=VARIABLE, value=job.id)]
    return client.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=template.spec)


def train_job_body(runtime: dict[str, Any], job: TrainJob, name: str) -> dict[str, Any]:
    """The TrainJob of a training job, by a TrainingRuntime. Raises RunFailed if the job's processes do not fill
    nodes."""
    metadata, group = runtime["metadata"], KUBEFLOW[0]
    # The processes must fill whole nodes.
    per_node = runtime["spec"].get("mlPolicy", {}).get("torch", {}).get("numProcPerNode")
    if not isinstance(per_node, int):
        raise RunFailed(
            f"TrainingRuntime {metadata['name']} has mlPolicy.torch.numProcPerNode={per_node!r}: give the number of "
            "GPUs that each of its pods asks for"
        )
    if job.world_size > per_node and job.world_size % per_node:
        raise RunFailed(
            f"world_size={job.world_size} does not fill nodes of numProcPerNode={per_node} (TrainingRuntime "
            f"{metadata['name']}): set trainer.world_size to a multiple of {per_node}"
        )
    return {
        "apiVersion": "/".join(KUBEFLOW),
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": metadata.get("labels", {}), "annotations": {_ANNOTATION: job.id}},
        "spec": {
            "runtimeRef": {"apiGroup": group, "kind": "TrainingRuntime", "name": metadata["name"]},
            "trainer": {
                "numNodes": max(1, job.world_size // per_node),
                "numProcPerNode": min(job.world_size, per_node),
                "env": [{"name": VARIABLE, "value": job.id}],
            },
        },
    }
