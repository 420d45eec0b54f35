"""What a run left in the artifact store, read and checked: models, their held-out answers, labels, human ranks.

Everything is ordered by prompt id, so that figures of two models can be resampled together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfreward.contracts.base import Contract, explain
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.tasks import EVALUATION_SETS
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME

Row = TypeVar("Row", bound=BaseModel)


class ReportError(ValueError):
    """Artifacts that no report can be made of; the message names the artifact, what is wrong and the remedy."""


class ModelRecord(BaseModel):
    """A model of the run as its journal lists it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    policy_version: str


class AlarmRecord(BaseModel):
    """An alarm that a watchdog raised; `phase` is the one that raised it."""

    model_config = ConfigDict(extra="ignore")

    stage: str
    phase: str
    watchdog: str
    value: float
    threshold: float
    action: str
    message: str


class RunRecord(BaseModel):
    """The run's journal, as far as the report needs it. `recipe` is the resolved recipe.

    `alarms` is None for a run that no watchdog looked at.
    """

    model_config = ConfigDict(extra="allow")

    models: list[ModelRecord]
    recipe: dict[str, Any] = {}
    recipe_hash: str = ""
    alarms: list[AlarmRecord] | None = None


class Labels(Contract):
    """Verdicts of an independent checker on a model's answers, in the order of the answers, by prompt id.

    `samples` and `greedy`: scores 0..5. `solved`: whether the answer is fully right, for the same two sets.
    """

    samples: dict[str, list[int]]
    greedy: dict[str, list[int]] = {}
    solved: dict[str, dict[str, list[bool]]]


class RankedResponse(BaseModel):
    """A human-ranked answer; rank 1 is the best, equal ranks are ties."""

    text: str
    rank: float


class RankedPrompt(BaseModel):
    """A row of `eft_eval`: a prompt and its human-ranked answers."""

    prompt_id: str
    prompt: Any
    responses: list[RankedResponse]


@dataclass(frozen=True)
class ModelData:
    """One model's evaluation: rollouts by set, ordered by prompt id, and the checker's labels where there are any.

    `update_kept` is the share (0 to 1) of its training's update that its published weights kept, by its manifest; None
    where the manifest does not say.
    """

    name: str
    policy_version: str
    samples: list[Rollout] = field(default_factory=list)
    greedy: list[Rollout] = field(default_factory=list)
    eft_eval: list[Rollout] = field(default_factory=list)
    labels: Labels | None = None
    update_kept: float | None = None

    @property
    def judged(self) -> list[Rollout]:
        """The sampled rollouts that carry judgments."""
        return [rollout for rollout in self.samples if rollout.judgments]


@dataclass(frozen=True)
class RunData:
    """All that the report is made of.

    `rewards` is what a checker found about the rewards of each stage of reinforcement learning, where one was asked
    (`selfreward.evaluation.report.rewards.by_stage`).
    """

    run: str
    record: RunRecord
    models: list[ModelData]
    human_ranks: dict[str, RankedPrompt]
    iterations: list[dict[str, Any]]
    pairs: dict[str, list[PreferencePair]]
    pair_labels: dict[str, list[tuple[float, float]]]
    rewards: list[dict[str, Any]]


def load_run(store: ArtifactStore, run: str) -> RunData:
    """Read a run. Raises ReportError naming the artifact that is missing or malformed."""
    name = paths.record(run)
    if not store.exists(name):
        raise ReportError(f"{name} does not exist under {store.root}: check the run's name and the root")
    try:
        record = RunRecord.model_validate(store.read_json(name))
    except ValidationError as error:
        raise ReportError(f"{name}:\n{explain(error)}") from error
    models = [model for entry in record.models if (model := _load_model(store, run, entry)) is not None]
    if not models:
        raise ReportError(
            f"{paths.folder(run)}/evaluation holds no model's samples.jsonl: let the run evaluate a model first"
        )
    stages = [model.name for model in record.models]
    iterations = [
        {"stage": stage, **store.read_json(paths.iteration(run, stage))}
        for stage in stages
        if store.exists(paths.iteration(run, stage))
    ]
    ranked = _rows(store, paths.data(run, "eft_eval"), RankedPrompt)
    pairs = {stage: _rows(store, paths.pairs(run, stage), PreferencePair) for stage in stages}
    rewards = paths.rewards(run)
    return RunData(
        run=run,
        record=record,
        models=models,
        human_ranks={row.prompt_id: row for row in ranked},
        iterations=iterations,
        pairs=pairs,
        pair_labels=_pair_labels(store, run, pairs),
        rewards=store.read_json(rewards) if store.exists(rewards) else [],
    )


def _load_model(store: ArtifactStore, run: str, entry: ModelRecord) -> ModelData | None:
    rollouts = {
        part: sorted(
            _rows(store, paths.evaluation(run, entry.name, part), Rollout), key=lambda rollout: rollout.prompt_id
        )
        for part in EVALUATION_SETS
    }
    if not rollouts["samples"]:
        return None
    labels, artifact = None, paths.labels(run, entry.name)
    if store.exists(artifact):
        try:
            labels = Labels.model_validate(store.read_json(artifact))
        except ValidationError as error:
            raise ReportError(f"{artifact}:\n{explain(error)}") from error
        for name, scores in (("samples", labels.samples), ("greedy", labels.greedy)):
            _check_labels(artifact, name, rollouts[name], scores, labels.solved.get(name, {}))
    manifest = f"{paths.weights(run, entry.name)}/{MANIFEST_NAME}"
    # The manifest stays when retention removes the weights.
    kept = store.read_json(manifest).get("update_kept") if store.exists(manifest) else None
    return ModelData(entry.name, entry.policy_version, labels=labels, update_kept=kept, **rollouts)


def _check_labels(
    source: str, name: str, rollouts: Sequence[Rollout], scores: dict[str, list[int]], solved: dict[str, list[bool]]
) -> None:
    for rollout in rollouts:
        expected = len(rollout.responses)
        for field_name, found in (
            (name, len(scores.get(rollout.prompt_id, ()))),
            (f"solved.{name}", len(solved.get(rollout.prompt_id, ()))),
        ):
            if found != expected:
                raise ReportError(
                    f"{source}: {field_name}[{rollout.prompt_id!r}] has {found} labels for {expected} answers: "
                    "run the checker again on these artifacts"
                )


def _pair_labels(
    store: ArtifactStore, run: str, pairs: dict[str, list[PreferencePair]]
) -> dict[str, list[tuple[float, float]]]:
    """The checker's scores of each actor pair's chosen and rejected answer, by stage, where there are any."""
    name = paths.pair_labels(run)
    if not store.exists(name):
        return {}
    labels = {stage: [(float(a), float(b)) for a, b in rows] for stage, rows in store.read_json(name).items()}
    for stage, rows in labels.items():
        expected = sum(pair.kind == "actor" for pair in pairs.get(stage, []))
        if len(rows) != expected:
            raise ReportError(f"{name}: {stage} has {len(rows)} labels for {expected} pairs: run the checker again")
    return labels


def _rows(store: ArtifactStore, name: str, row_type: type[Row]) -> list[Row]:
    """Rows of a JSON Lines artifact, an empty list when there is none."""
    if not store.exists(name):
        return []
    rows = []
    for number, row in enumerate(store.read_jsonl(name), start=1):
        try:
            rows.append(row_type.model_validate(row))
        except ValidationError as error:
            raise ReportError(f"{name}, line {number}:\n{explain(error)}") from error
    return rows
