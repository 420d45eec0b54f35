"""`selfreward look`: prompts, answers, votes and pairs of a stage in the terminal."""

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward.cli.options import Artifacts, RunName
from selfreward.cli.output import say, stdout

if TYPE_CHECKING:
    from selfreward.contracts.judging import Judgment
    from selfreward.contracts.rollouts import PreferencePair, Rollout
    from selfreward.redis.connection import RedisClient
    from selfreward.store.artifacts import ArtifactStore

_SHORT = 200


def look(
    run: RunName,
    stage: Annotated[str, typer.Argument(help="A stage of the run, for example M2.")],
    worst: Annotated[bool, typer.Option("--worst", help="The prompts with the lowest mean score first.")] = False,
    disagree: Annotated[bool, typer.Option("--disagree", help="Those whose votes differ most first.")] = False,
    unscored: Annotated[bool, typer.Option("--unscored", help="Only those with an answer without a score.")] = False,
    prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="One prompt, with whole answers and the text of every vote.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="How many prompts to show.")] = 5,
    artifacts: Artifacts = None,
) -> None:
    """Show a stage's prompts with their answers, scores and votes, and which answers became a pair.

    The rollouts are those in the artifact store; while the phase runs, those that are done so far, from Redis. Of a
    stage without rollouts (M0, SFT), the answers to the held-out prompts are shown.

    Examples: selfreward look mine M2 --disagree; selfreward look mine M2 --prompt prompts-00012

    Exit status: 0 shown, 1 nothing to show, 2 a mistake or Redis fails.
    """
    from selfreward.settings import Settings
    from selfreward.store.artifacts import ArtifactStore

    if sum((worst, disagree, unscored, prompt is not None)) > 1:
        raise typer.BadParameter("give one of --worst, --disagree, --unscored and --prompt")
    store = ArtifactStore(artifacts or Settings().artifacts)
    source, rollouts = _rollouts(store, run, stage)
    chosen = list(_choose(rollouts, worst, disagree, unscored, prompt))
    if not chosen:
        what = f"prompt {prompt!r}" if prompt else "unscored answer" if unscored else "rollout"
        say(f"run {run} has no {what} of stage {stage} ({source}, {len(rollouts):,} prompts)")
        raise typer.Exit(1)
    pairs = _pairs(store, run, stage)
    for rollout in chosen[:most]:
        _show(rollout, pairs.get(rollout.prompt_id, []), whole=prompt is not None)
    say(f"{min(most, len(chosen)):,} of {len(chosen):,} prompts, {source}")


def _rollouts(store: "ArtifactStore", run: str, stage: str) -> tuple[str, list["Rollout"]]:
    """Where the stage's rollouts are, and all of them."""
    from selfreward.contracts.rollouts import Rollout
    from selfreward.loop import paths

    for name in (paths.rollouts(run, stage), paths.evaluation(run, stage, "samples")):
        if store.exists(name):
            return name, [Rollout.model_validate(row) for row in store.read_jsonl(name)]
    return "so far", _running(run, stage)


def _running(run: str, stage: str) -> list["Rollout"]:
    """The results of the phase that runs, from Redis, in the order of their prompts."""
    from selfreward.cli.on_redis import on_redis
    from selfreward.contracts.rollouts import Rollout
    from selfreward.loop.tasks import results_key

    async def read(redis: "RedisClient") -> list[str]:
        return [
            body for phase in ("rollouts", "evaluate") for body in await redis.hvals(results_key(run, stage, phase))
        ]

    rollouts = [Rollout.model_validate_json(body) for body in on_redis(read)]
    return sorted(rollouts, key=lambda rollout: rollout.prompt_id)


def _pairs(store: "ArtifactStore", run: str, stage: str) -> dict[str, list["PreferencePair"]]:
    """The stage's actor pairs by prompt."""
    from selfreward.contracts.rollouts import PreferencePair
    from selfreward.loop import paths

    by_prompt: dict[str, list[PreferencePair]] = {}
    name = paths.pairs(run, stage)
    for row in store.read_jsonl(name) if store.exists(name) else ():
        pair = PreferencePair.model_validate(row)
        if pair.kind == "actor":
            by_prompt.setdefault(pair.prompt_id, []).append(pair)
    return by_prompt


def _choose(
    rollouts: Iterable["Rollout"], worst: bool, disagree: bool, unscored: bool, prompt: str | None
) -> Iterable["Rollout"]:
    """The rollouts to show, in the order to show them in."""
    if prompt is not None:
        return (rollout for rollout in rollouts if rollout.prompt_id == prompt)
    if unscored:
        return (rollout for rollout in rollouts if any(judgment.score is None for judgment in rollout.judgments))
    if worst:
        return _by(rollouts, lambda scores, _: fmean(scores))
    if disagree:
        return _by(rollouts, lambda _, stdevs: -max(stdevs, default=0.0))
    return rollouts


def _by(rollouts: Iterable["Rollout"], key: Callable[[list[float], list[float]], float]) -> list["Rollout"]:
    """Rollouts with a score, sorted by a key of their answers' scores and of the deviations of these answers' votes."""
    found = []
    for rollout in rollouts:
        scores = [judgment.score for judgment in rollout.judgments if judgment.score is not None]
        stdevs = [judgment.stdev for judgment in rollout.judgments if judgment.stdev is not None]
        if scores:
            found.append((key(scores, stdevs), rollout))
    return [rollout for _, rollout in sorted(found, key=lambda entry: entry[0])]


def _show(rollout: "Rollout", pairs: list["PreferencePair"], whole: bool) -> None:
    """Print a prompt and its answers, each with its score and votes; all in short unless `whole`."""
    stdout.print(f"{rollout.prompt_id}  {rollout.policy_version}", style="bold", markup=False, highlight=False)
    for message in rollout.prompt:
        _print(f"{message.role}: {message.content}", whole)
    # Pairs hold the texts without the spaces around them.
    sides = {pair.chosen[-1].content.strip(): "chosen" for pair in pairs}
    sides |= {pair.rejected[-1].content.strip(): "rejected" for pair in pairs}
    for place, response in enumerate(rollout.responses):
        judgment = rollout.judgments[place] if rollout.judgments else None
        cut = "cut off" if response.finish_reason == "length" else ""
        facts = [f"answer {place + 1}", *_verdict(judgment), sides.get(response.text.strip(), ""), cut]
        stdout.print("  " + "  ".join(filter(None, facts)), style="cyan", markup=False, highlight=False)
        _print(response.text, whole)
        for number, vote in enumerate(judgment.votes if judgment and whole else (), start=1):
            score = vote.status if vote.score is None else f"{vote.score:g}"
            stdout.print(f"    vote {number}: {score}", style="dim", markup=False, highlight=False)
            _print(vote.text, whole)
    stdout.print()


def _verdict(judgment: "Judgment | None") -> list[str]:
    if judgment is None:
        return []
    votes = " ".join("-" if vote.score is None else f"{vote.score:g}" for vote in judgment.votes)
    score = f"unscored ({judgment.failure_kind})" if judgment.score is None else f"score {judgment.score:.2f}"
    return [score, f"votes {votes}"]


def _print(text: str, whole: bool) -> None:
    """A text indented, wrapped between words; in short, its first 200 characters on lines without gaps."""
    if not whole:
        text = " ".join(text.split())
        text = text if len(text) <= _SHORT else f"{text[:_SHORT].rstrip()} ..."
    for line in text.splitlines() or [""]:
        stdout.print(f"    {line}", markup=False, highlight=False)
