"""The independent examiner: scores a run's held-out answers with the exact checker, after the run, in its own process.

    python -m examples.worlds.label --world WORLD --artifacts ROOT --run RUN

writes `labels.json` beside every model's answers below `runs/<run>/evaluation/`, and `pair_labels.json` there for the
pairs that trained each stage. Nothing of the loop imports this module.
"""

import argparse
from collections.abc import Iterable

from examples.worlds.world import DEFAULT, World, WorldError, load_world
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.store.artifacts import ArtifactStore

SETS = ("samples", "greedy")


def label_model(store: ArtifactStore, run: str, model: str, world: World) -> int:
    """Label a model's answers; returns how many there are."""
    labels: dict[str, dict[str, list[int]]] = {}
    verdicts: dict[str, dict[str, list[bool]]] = {}
    count = 0
    for name in SETS:
        labels[name], verdicts[name] = {}, {}
        for rollout in _rollouts(store, paths.evaluation(run, model, name)):
            problem = rollout.prompt[-1].content
            scores = [world.score(problem, response.text) for response in rollout.responses]
            labels[name][rollout.prompt_id] = scores
            verdicts[name][rollout.prompt_id] = [score == len(world.point_names) for score in scores]
            count += len(rollout.responses)
    store.write_json(paths.labels(run, model), {**labels, "solved": verdicts})
    return count


def label_pairs(store: ArtifactStore, run: str, stages: Iterable[str], world: World) -> int:
    """Score both answers, or steps, of every actor pair, so that the report can say how many pairs were right."""
    labels: dict[str, list[tuple[int, int]]] = {}
    for stage in stages:
        name = paths.pairs(run, stage)
        if store.exists(name):
            pairs = [PreferencePair.model_validate(row) for row in store.read_jsonl(name)]
            labels[stage] = [_pair_scores(pair, world) for pair in pairs if pair.kind == "actor"]
    store.write_json(paths.pair_labels(run), labels)
    return sum(map(len, labels.values()))


def label_run(store: ArtifactStore, run: str, world: World) -> dict[str, int]:
    """Label every model of a run and its pairs; returns how many answers of each, and how many `pairs`.

    FileNotFoundError when there is no such run.
    """
    names = [model["name"] for model in store.read_json(paths.record(run))["models"]]
    answered = [name for name in names if store.exists(paths.evaluation(run, name, "samples"))]
    counts = {name: label_model(store, run, name, world) for name in answered}
    return {**counts, "pairs": label_pairs(store, run, names, world)}


def main() -> None:
    """Label every model that the run's journal lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default=DEFAULT, help=f"the run's world (default {DEFAULT})")
    parser.add_argument("--artifacts", required=True, help="root of the artifact store")
    parser.add_argument("--run", required=True, help="name of the run")
    arguments = parser.parse_args()
    store = ArtifactStore(arguments.artifacts)
    journal = paths.record(arguments.run)
    if not store.exists(journal):
        raise SystemExit(f"{journal} does not exist under {store.root}: check --artifacts and --run")
    try:
        counts = label_run(store, arguments.run, load_world(arguments.world))
    except WorldError as error:
        raise SystemExit(str(error)) from error
    pairs = counts.pop("pairs")
    for name, count in counts.items():
        print(f"{name}: {count} answers labelled")
    print(f"{pairs} pairs labelled")


def _pair_scores(pair: PreferencePair, world: World) -> tuple[int, int]:
    """Scores of the chosen and the rejected answer. A pair of next steps is scored with the answer's beginning."""
    *_, problem = (message.content for message in pair.prompt if message.role == "user")
    beginning = pair.prompt[-1].content if pair.prompt[-1].role == "assistant" else ""
    chosen, rejected = (
        world.score(problem, (beginning + side[-1].content).removesuffix(pair.separator or ""))
        for side in (pair.chosen, pair.rejected)
    )
    return chosen, rejected


def _rollouts(store: ArtifactStore, name: str) -> Iterable[Rollout]:
    if store.exists(name):
        for row in store.read_jsonl(name):
            yield Rollout.model_validate(row)


if __name__ == "__main__":
    main()
