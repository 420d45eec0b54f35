"""Training jobs as Kubernetes Jobs: made once, watched, given up and made anew, against the API as it answers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator

import pytest

from orchestrator.app import create_app
from orchestrator.cluster.jobs import TrainerJobs
from orchestrator.cluster.templates import CronJobTemplate, RuntimeTemplate, job_name, train_job_body
from orchestrator.phases.training import follow as follow_job
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.contracts.training import SftHyper, TrainJob, TrainStatus, queue_of, status_key
from selfreward.loop.record import RunState, now
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.server.startup import StartRefused
from selfreward.store.artifacts import ArtifactStore
from tests.deploy.kubernetes_api import NAMESPACE, Cluster, cluster
from tests.support.factories import recipe
from tests.support.methods import train_job

CANARY = [Message(role="user", content="hello")]
RECIPE = recipe()
Scenario = Callable[[RunContext, "Following"], Awaitable[None]]


def a_job(**changes: object) -> TrainJob:
    values = {"id": "My_run.2-m2".lower(), "run": "r", "stage": "M2", "method": "publish", "init_from": "m"}
    return TrainJob.model_validate({**values, "output": "o", "canary": CANARY, **changes})


@pytest.fixture
def kube() -> Iterator[Cluster]:
    with cluster() as held:
        yield held


@pytest.fixture
def jobs(kube: Cluster) -> TrainerJobs:
    return TrainerJobs(CronJobTemplate(kube.api(), NAMESPACE, "trainer"))


class Following:
    """The orchestrator following the one training job of a run."""

    def __init__(self, context: RunContext, kube: Cluster) -> None:
        self.context = context
        self.kube = kube
        self.task = asyncio.create_task(
            follow_job(context, train_job(context.run, context.recipe, context.state.stage, CANARY))
        )

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something, for as long as the run has not failed."""
        async with asyncio.timeout(60):
            while not reached():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    async def report(self, **fields: object) -> None:
        """Tell Redis what a trainer tells it."""
        status = TrainStatus.model_validate({"id": "one-sft", **fields})
        await self.context.services.redis.set(status_key("one-sft"), status.model_dump_json())

    @property
    def name(self) -> str:
        """Name of the Job that was made last."""
        return str(self.kube.made[-1]["metadata"]["name"])


def follow(redis_url: str, store_root: str, kube: Cluster, check: Scenario) -> None:
    async def main() -> None:
        async with connect(redis_url) as redis, ServiceClient("http://nothing") as service:
            settings = OrchestratorSettings(redis_url=redis_url, poll_s=0.02)
            store, jobs = ArtifactStore(store_root), TrainerJobs(CronJobTemplate(kube.api(), NAMESPACE, "trainer"))
            services = Services(settings, redis, store, GeneratorClient(service), service, jobs)
            lease = await acquire(redis, "a", 600)
            assert lease is not None
            state = RunState(run="one", recipe=RECIPE, recipe_hash=RECIPE.hash, created_at=now())
            context = RunContext(services, lease, state.model_copy(update={"stage": "SFT", "phase": "train"}))
            await check(context, Following(context, kube))

    asyncio.run(main())


def test_a_job_is_made_once_whoever_makes_it(kube: Cluster, jobs: TrainerJobs) -> None:
    other = TrainerJobs(CronJobTemplate(kube.api(), NAMESPACE, "trainer"))
    assert [jobs.poll(a_job()), other.poll(a_job()), jobs.poll(a_job())] == ["", "", ""]
    (made,) = kube.made
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert {"name": "SELFREWARD_TRAIN_JOB", "value": "my_run.2-m2"} in container["env"]
    assert made["metadata"]["annotations"] == {"selfreward/train-job": "my_run.2-m2"}
    for promised in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "podFailurePolicy"):
        assert made["spec"][promised] == kube.objects["cronjobs/trainer"]["spec"]["jobTemplate"]["spec"][promised]


def test_a_runtime_makes_one_train_job_with_as_many_nodes_as_the_job_fills(kube: Cluster) -> None:
    jobs = [TrainerJobs(RuntimeTemplate(kube.api(), NAMESPACE, "trainer")) for _ in range(2)]
    sft = {"method": "sft", "sft": SftHyper(batch_size=32), "datasets": ["d"]}
    assert [one.poll(a_job(**sft, world_size=16)) for one in (*jobs, *jobs)] == [""] * 4
    (made,) = kube.made
    assert made["kind"] == "TrainJob"
    assert made["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "training"}
    assert made["spec"]["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": "trainer",
    }
    assert made["spec"]["trainer"] == {
        "numNodes": 2,
        "numProcPerNode": 8,
        "env": [{"name": "SELFREWARD_TRAIN_JOB", "value": "my_run.2-m2"}],
    }
    # A pod has the node's number and two suffixes beside it.
    assert len(made["metadata"]["name"] + "-node-0-999-abcde") <= 63


def test_a_train_job_that_has_ended_is_cleared_away_and_made_anew(kube: Cluster) -> None:
    jobs = TrainerJobs(RuntimeTemplate(kube.api(), NAMESPACE, "trainer"))
    jobs.poll(a_job())
    assert kube.made[0]["spec"]["trainer"]["numNodes"] == kube.made[0]["spec"]["trainer"]["numProcPerNode"] == 1
    assert jobs.clear(a_job())
    kube.end(str(kube.made[0]["metadata"]["name"]), "Failed", "JobsFailed")
    assert "Kubernetes TrainJob train-my-run-2-m2" in jobs.poll(a_job())
    assert jobs.clear(a_job())
    assert jobs.poll(a_job()) == ""
    assert len(kube.made) == 2


def test_processes_that_fill_no_nodes_are_refused_with_the_number_that_does(kube: Cluster) -> None:
    runtime = kube.objects["trainingruntimes/trainer"]
    several = a_job(method="sft", sft=SftHyper(), datasets=["d"], world_size=12)
    with pytest.raises(RunFailed, match=r"world_size=12 does not fill nodes of numProcPerNode=8 .*multiple of 8"):
        train_job_body(runtime, several, "name")
    few = several.model_copy(update={"world_size": 4})
    assert train_job_body(runtime, few, "name")["spec"]["trainer"]["numProcPerNode"] == 4
    runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"
    with pytest.raises(RunFailed, match="numProcPerNode='auto': give the number of GPUs"):
        train_job_body(runtime, several, "name")


def test_two_that_make_it_at_the_same_moment_make_one(kube: Cluster, jobs: TrainerJobs) -> None:
    jobs.poll(a_job())
    jobs._create(a_job())  # what a replica does that has looked before the other one made it
    assert len(kube.made) == 1


def test_names_are_the_same_for_the_same_job_and_fit_kubernetes() -> None:
    long = a_job(id="x" * 121)
    assert job_name(a_job(), 40) == job_name(a_job(), 40)
    assert job_name(a_job(), 40) != job_name(a_job(recipe_hash="another"), 40)
    for job in (a_job(), long, a_job(id="0")):
        assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", job_name(job, 40))
        assert len(job_name(job, 40)) <= 57  # the rest of 63 is the pod's


def test_an_api_server_that_is_away_is_asked_again(kube: Cluster, jobs: TrainerJobs) -> None:
    kube.failing = 2
    assert not jobs.clear(a_job())
    assert jobs.poll(a_job()) == ""
    assert kube.made == []
    assert jobs.clear(a_job())
    assert jobs.poll(a_job()) == ""
    assert len(kube.made) == 1


@pytest.mark.parametrize(
    ("template", "key", "rights", "missing"),
    [
        (
            CronJobTemplate,
            "cronjobs/trainer",
            r"Role of k8s/base/accounts.yaml",
            r"apply k8s/base/trainer.yaml, or correct SELFREWARD_TRAINER_CRONJOB",
        ),
        (
            RuntimeTemplate,
            "trainingruntimes/trainer",
            r"Role of k8s/components/multinode/accounts.yaml",
            r"install Kubeflow Trainer .* or correct SELFREWARD_TRAINER_RUNTIME",
        ),
    ],
)
def test_missing_rights_and_a_missing_template_name_the_remedy(
    kube: Cluster, template: type[CronJobTemplate | RuntimeTemplate], key: str, rights: str, missing: str
) -> None:
    jobs = TrainerJobs(template(kube.api(), NAMESPACE, "trainer"))
    kube.denied.add("POST")
    with pytest.raises(RunFailed, match=rights):
        jobs.poll(a_job())
    del kube.objects[key]
    with pytest.raises(RunFailed, match=missing):
        jobs.poll(a_job())


def test_a_template_that_is_refused_is_named(kube: Cluster, jobs: TrainerJobs) -> None:
    kube.rejecting = "no such priority class"
    with pytest.raises(RunFailed, match=r"422.*no such priority class.*check the CronJob trainer"):
        jobs.poll(a_job())


def test_only_an_ended_job_is_cleared_away(kube: Cluster, jobs: TrainerJobs) -> None:
    jobs.poll(a_job())
    assert jobs.clear(a_job())
    assert f"jobs/{job_name(a_job(), 40)}" in kube.objects
    kube.end(job_name(a_job(), 40), "Failed", "BackoffLimitExceeded")
    assert "BackoffLimitExceeded" in jobs.poll(a_job())
    assert jobs.clear(a_job())
    assert jobs.poll(a_job()) == ""
    assert len(kube.made) == 2


def test_a_run_follows_its_job_to_the_checkpoint(redis_url: str, store_root: str, kube: Cluster) -> None:
    async def check(context: RunContext, following: Following) -> None:
        await following.until(lambda: bool(kube.made))
        queue = WorkQueue(context.services.redis, queue_of("one-sft"))
        (work,) = await queue.take("trainer")
        assert TrainJob.model_validate(work.body).id == "one-sft"
        await following.report(state="running", step=3, total_steps=9)
        kube.end(following.name, "Complete")
        await following.report(state="done", step=9, total_steps=9, digest="abc")
        assert (await following.task).digest == "abc"
        assert len(kube.made) == 1

    follow(redis_url, store_root, kube, check)


def test_a_job_that_somebody_deletes_is_made_again(redis_url: str, store_root: str, kube: Cluster) -> None:
    async def check(context: RunContext, following: Following) -> None:
        await following.until(lambda: len(kube.made) == 1)
        del kube.objects[f"jobs/{following.name}"]
        await following.until(lambda: len(kube.made) == 2)
        await following.report(state="done", digest="abc")
        assert (await following.task).digest == "abc"

    follow(redis_url, store_root, kube, check)


def test_a_job_without_a_result_fails_the_run_and_a_resume_makes_another(
    redis_url: str, store_root: str, kube: Cluster
) -> None:
    async def check(context: RunContext, following: Following) -> None:
        await following.until(lambda: len(kube.made) == 1)
        kube.end(following.name, "Failed", "DeadlineExceeded")
        with pytest.raises(RunFailed, match="is failed, and its trainer reported no result \\(DeadlineExceeded"):
            await following.task
        resumed = Following(context, kube)
        await resumed.until(lambda: len(kube.made) == 2)
        await resumed.report(state="done", digest="abc")
        assert (await resumed.task).digest == "abc"

    follow(redis_url, store_root, kube, check)


def test_the_trainers_own_reason_counts_more_than_the_jobs(redis_url: str, store_root: str, kube: Cluster) -> None:
    async def check(context: RunContext, following: Following) -> None:
        await following.until(lambda: len(kube.made) == 1)
        await following.report(state="failed", error="rows are blank")
        kube.end(following.name, "Failed", "PodFailurePolicy")
        with pytest.raises(RunFailed, match="rows are blank"):
            await following.task

    follow(redis_url, store_root, kube, check)


def test_outside_a_pod_the_service_says_so_at_its_start(store_root: str) -> None:
    with pytest.raises(StartRefused, match="SELFREWARD_TRAINER_CRONJOB=trainer needs a pod"):
        create_app(OrchestratorSettings(artifacts=store_root, trainer_cronjob="trainer"))
    with pytest.raises(StartRefused, match="SELFREWARD_TRAINER_RUNTIME=nodes needs a pod"):
        create_app(OrchestratorSettings(artifacts=store_root, trainer_runtime="nodes"))
    with pytest.raises(StartRefused, match="CRONJOB=trainer and SELFREWARD_TRAINER_RUNTIME=nodes: leave out one"):
        create_app(OrchestratorSettings(artifacts=store_root, trainer_cronjob="trainer", trainer_runtime="nodes"))
