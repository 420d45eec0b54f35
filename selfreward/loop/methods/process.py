"""Process-based self-rewarding (PSRLM, 2503.03746): preference pairs of single steps.

An answer is found step by step. At each step the model samples candidates and compares every two of them itself; the
score of a candidate is how many it beats. The best continues the answer and, over the worst, is a pair of next steps
after the same beginning.

Where the best beats no more than the worst there is nothing to prefer: the step is dropped, and the one before it is
sampled anew, as in the paper. With a model that is sure of what it says that need not come to an end, so a search goes
back a few times only, and then goes on with the first candidate. That is ours, as it is that the pair of a step that is
sampled anew is dropped with it (our notes of the paper do not say), and that cut-off candidates are left out, since
nobody knows how they would go on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.rollouts import Match, PreferencePair, Response, Rollout, Step
from selfreward.loop import paths
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.methods.checks import Violation, check_judge
from selfreward.loop.methods.constitutional import preference
from selfreward.loop.methods.plan import RubricUse, check_no_pair_rules, table
from selfreward.loop.pairing import OUTCOMES, judged_pair
from selfreward.loop.tasks import Compare, PromptItem, Search, Task, make_task, sampled
from selfreward.recipe.recipe import Recipe

MOST_CANDIDATES = 8
"""Candidates of a step at most: 28 pairs, which a judge reads within a request's deadline."""


class StepJudging(Contract):
    """How two candidate steps are compared: by which rubric (of kind `pairwise`), with how many votes in each order."""

    rubric: str = "pairwise"
    votes: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)


class ProcessRules(Contract):
    """The recipe's `[process]`: how an answer is found step by step.

    `separator`: the text that ends every step but the last, such as `"\\nStep"` in `Step 1: ...`, or `" ;"`.
    `max_steps`: after so many the answer is left unfinished. `judging`: how the model compares candidates, which the
    recipe's `sampling` samples: `n` for each step (the paper's 6, at T = 0.5 and p = 0.95), of `max_tokens` at most.

    `backtracks`: how often a search goes back a step, where no candidate beats more of the others than another does.
    After that the answer goes on with the first one, and there is no pair of that step. The paper goes back as often as
    it has to; a model that is sure of what it says would never come to an end, so there is a bound, and it is ours.
    """

    separator: str = Field(default="\nStep", min_length=1)
    max_steps: int = Field(default=20, ge=1, le=100)
    backtracks: int = Field(default=3, ge=0, le=100)
    judging: StepJudging = StepJudging()

    @property
    def most_steps(self) -> int:
        """Steps that a search samples at most: each time that it goes back it drops two of them, or the first one."""
        return self.max_steps + 2 * self.backtracks

    @model_validator(mode="after")
    def _survives_a_template(self) -> Self:
        if self.separator != self.separator.rstrip():
            raise ValueError(
                f"separator={self.separator!r} ends with a blank, which chat templates cut off where an answer is "
                "continued: end it with the next step's first word, for example '\\nStep'"
            )
        return self


@dataclass(frozen=True)
class Choice:
    """Places of the best and the worst candidate of a step, and how many others each beats."""

    best: int
    worst: int
    best_wins: int
    worst_wins: int


class Process(Method):
    """The best next step over the worst, after the same beginning."""

    name = "process"
    tables = {"process": ProcessRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """There are no scores in points, and not too many candidates to compare."""
        if recipe.sampling.n > MOST_CANDIDATES:
            raise ValueError(
                f"sampling.n={recipe.sampling.n}: method='process' compares every two candidates of a step in one "
                f"request; give at most {MOST_CANDIDATES}"
            )
        message = "method='process' has no scores in points: of `pairs` give judge_pairs alone"
        check_no_pair_rules(recipe, message, judge_pairs=True)
        if recipe.loop.measure_consistency:
            raise ValueError(
                "loop.measure_consistency ranks several answers, and method='process' finds one: leave it out"
            )

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """One of kind `pairwise` for the steps."""
        rubric = table(recipe, ProcessRules).judging.rubric
        return [*super().rubrics(recipe), RubricUse("process.judging.rubric", rubric, "pairwise")]

    def judged(self, recipe: Recipe) -> bool:
        """Steps are compared."""
        return False

    def compared(self, recipe: Recipe) -> bool:
        """Every two candidates of a step."""
        return True

    def answers(self, recipe: Recipe, stage: str) -> int:
        """One, found step by step."""
        return 1

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """One answer to a prompt, found step by step."""
        rules = table(recipe, ProcessRules)
        compare = Compare(of="steps", annotator=recipe.judging.annotator, **rules.judging.model_dump())
        search = Search(separator=rules.separator, max_steps=rules.max_steps, backtracks=rules.backtracks)
        task = make_task(run, recipe, stage, "rollouts", item, policy, sampled(recipe.sampling, recipe.sampling.n))
        return task.model_copy(update={"compare": compare, "search": search})

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """A pair of each step at which one candidate beats more than another."""
        return build_pairs(rollouts, table(recipe, ProcessRules).separator)

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """What the searches did."""
        return monitors(rollouts, table(recipe, ProcessRules).separator)

    def sampled_of_a_prompt(self, recipe: Recipe, stage: str) -> int:
        """The candidates of all steps."""
        return table(recipe, ProcessRules).most_steps * recipe.sampling.n

    def judged_of_a_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Every two candidates of each step in both orders."""
        rules, n = table(recipe, ProcessRules), recipe.sampling.n
        shown = rules.most_steps * n * (n - 1)
        return shown, shown * rules.judging.votes * rules.judging.max_tokens

    def pairs_of_a_prompt(self, recipe: Recipe) -> float:
        """One for each step."""
        return table(recipe, ProcessRules).max_steps

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Each search asked what it was to ask, went on with the best candidate or back, and ended where it had to."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        name, rules = paths.rollouts(run, stage), table(recipe, ProcessRules)
        yield from check_judge(name, rollouts, version, recipe.judging.annotator)
        short = [
            row.prompt_id for row in rollouts if not all(_asked(step, recipe.sampling.n, rules) for step in row.steps)
        ]
        if short:
            yield Violation("accounting", name, f"not every two candidates in both orders at each step: {short[:3]}")
        astray = [row.prompt_id for row in rollouts if not _replayed(row, rules)]
        if astray:
            yield Violation("accounting", name, f"not the steps that the comparisons lead to: {astray[:3]}")


def usable(candidates: Sequence[Response], separator: str) -> list[int]:
    """Places of the candidates that can be compared: each text once, neither blank nor cut off within a step."""
    places: dict[str, int] = {}
    for place, candidate in enumerate(candidates):
        whole = candidate.text.endswith(separator) or candidate.finish_reason == "stop"
        if whole and candidate.text.removesuffix(separator).strip():
            places.setdefault(candidate.text, place)
    return list(places.values())


def offered(candidates: Sequence[Response], separator: str) -> list[tuple[int, int]]:
    """Places of every two candidates to compare."""
    return list(combinations(usable(candidates, separator), 2))


def wins(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> dict[int, int]:
    """For each usable candidate, by its place, how many others it beats (the paper's Score_i), both orders alike.

    Where an order has no verdict neither beats the other.
    """
    found = dict.fromkeys(usable(candidates, separator), 0)
    for a, b in combinations(found, 2):
        p = preference(matches, a, b)
        if p is not None and p != 0.5:
            found[a if p > 0.5 else b] += 1
    return found


def choose(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> Choice | None:
    """The best and the worst candidate, the first of equal ones; None where no candidate can be used."""
    found = wins(candidates, matches, separator)
    if not found:
        return None
    best, worst = max(found, key=lambda place: found[place]), min(found, key=lambda place: found[place])
    return Choice(best, worst, found[best], found[worst])


def after(
    steps: Sequence[Step], candidates: list[Response], matches: list[Match], separator: str, backtracks: int
) -> list[Step]:
    """A search's steps after these candidates have been compared: the answer goes on with the best of them or, where
    there is none and the search may go back once more, this step and the one before it are dropped."""
    found = choose(candidates, matches, separator)
    new = Step(candidates=candidates, matches=matches, chosen=found.best if found else None)
    if found is None or found.best_wins > found.worst_wins or went_back(steps) >= backtracks:
        return [*steps, new]
    last = max((place for place, step in enumerate(steps) if not step.dropped), default=None)
    kept = [step.model_copy(update={"dropped": True}) if place == last else step for place, step in enumerate(steps)]
    return [*kept, new.model_copy(update={"chosen": None, "dropped": True})]


def went_back(steps: Iterable[Step]) -> int:
    """How often a search has gone back."""
    return sum(step.dropped and step.chosen is None for step in steps)


def over(steps: Sequence[Step], separator: str, max_steps: int) -> bool:
    """Whether a search ends here: with the answer, without a usable candidate, or after `max_steps` of its steps."""
    taken = kept_steps(steps)
    if not taken or len(taken) == max_steps:
        return bool(taken)
    last = taken[-1]
    return last.chosen is None or ended(last.candidates[last.chosen].text, separator)


def kept_steps(steps: Iterable[Step]) -> list[Step]:
    """The steps of an answer, without those that were dropped."""
    return [step for step in steps if not step.dropped]


def ended(text: str, separator: str) -> bool:
    """Whether a chosen step is the last of its answer."""
    return not text.endswith(separator)


def answer(steps: Iterable[Step]) -> str:
    """The text of the chosen steps, but of those that were dropped."""
    return "".join(step.candidates[step.chosen].text for step in kept_steps(steps) if step.chosen is not None)


def build_pairs(rollouts: Iterable[Rollout], separator: str) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair of each step of an answer at which one candidate beats more than another, and how rollouts ended.

    Scores are the candidates beaten. `unscored`: no step has a comparison with a verdict; `tie`: none has a winner.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        made = [pair for pair in _pairs(rollout, separator) if pair is not None]
        judged = any(
            preference(step.matches, a, b) is not None
            for step in rollout.steps
            for a, b in offered(step.candidates, separator)
        )
        counts["kept" if made else "tie" if judged else "unscored"] += 1
        pairs += made
    return pairs, counts


def monitors(rollouts: Sequence[Rollout], separator: str) -> dict[str, float | None]:
    """Figures of a round; None where there is nothing to count.

    `mean_steps` of an answer; `mean_backtracks`: how often its search went back; `finished`: the share of answers that
    came to their end; `paired_steps`: the share of the answers' steps that gave a pair; `invalid_vote_rate`: the share
    of all comparisons without a verdict.
    """
    paired = [pair for rollout in rollouts for pair in _pairs(rollout, separator)]
    invalid = [match.status != "ok" for rollout in rollouts for step in rollout.steps for match in step.matches]
    return {
        "mean_steps": fmean(len(kept_steps(rollout.steps)) for rollout in rollouts) if rollouts else None,
        "mean_backtracks": fmean(went_back(rollout.steps) for rollout in rollouts) if rollouts else None,
        "finished": fmean(rollout.responses[0].finish_reason == "stop" for rollout in rollouts) if rollouts else None,
        "paired_steps": fmean(pair is not None for pair in paired) if paired else None,
        "invalid_vote_rate": fmean(invalid) if invalid else None,
    }


def found_answer(steps: Sequence[Step], separator: str) -> Response:
    """The answer of a search; its `finish_reason` is `length` where it did not come to its end."""
    answered = kept_steps(steps)
    taken = [step.candidates[step.chosen] for step in answered if step.chosen is not None]
    whole = len(taken) == len(answered) and ended(taken[-1].text, separator)
    tokens = sum(candidate.tokens for candidate in taken)
    return Response(text=answer(steps), finish_reason="stop" if whole else "length", tokens=tokens)


def _pairs(rollout: Rollout, separator: str) -> list[PreferencePair | None]:
    """For each step of the answer its pair, or None."""
    taken = kept_steps(rollout.steps)
    return [_pair(rollout, step, answer(taken[:number]), separator) for number, step in enumerate(taken)]


def _pair(rollout: Rollout, step: Step, begun: str, separator: str) -> PreferencePair | None:
    found = choose(step.candidates, step.matches, separator)
    if found is None or found.best_wins == found.worst_wins:
        return None
    texts = (step.candidates[found.best].text, step.candidates[found.worst].text)
    prompt = [*rollout.prompt, *([Message(role="assistant", content=begun)] if begun else [])]
    return judged_pair(rollout, texts, (found.best_wins, found.worst_wins), prompt=prompt, separator=separator)


def _asked(step: Step, candidates: int, rules: ProcessRules) -> bool:
    """Whether a step has all its candidates, and every two of them were compared in both orders."""
    orders = [order for a, b in offered(step.candidates, rules.separator) for order in ((a, b), (b, a))]
    shown = Counter((match.first, match.second) for match in step.matches)
    return len(step.candidates) == candidates and shown == dict.fromkeys(orders, rules.judging.votes)


def _replayed(rollout: Rollout, rules: ProcessRules) -> bool:
    """Replay the search from its recorded samples. True if it takes the same steps."""
    steps = list[Step]()
    for recorded in rollout.steps:
        if over(steps, rules.separator, rules.max_steps):
            return False
        steps = after(steps, recorded.candidates, recorded.matches, rules.separator, rules.backtracks)
    whole = over(steps, rules.separator, rules.max_steps)
    return whole and steps == rollout.steps and rollout.responses == [found_answer(steps, rules.separator)]
