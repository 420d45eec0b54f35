"""Process-based self-rewarding (PSRLM, 2503.03746): preference pairs of single steps.

An answer is built by a search, step by step. At each step the model samples candidates and compares every two of them;
a candidate's score is the number of candidates that it beats. The best candidate continues the answer. The best over
the worst is a preference pair of next steps after the same beginning.

If the best candidate beats no more than the worst, the step is dropped and the step before it is sampled again, as in
the paper. Three choices are ours. A search goes back a limited number of times and then continues with the first
candidate, since a confident model might never end it. The pair of a step that is sampled again is dropped with the step
(our notes of the paper do not say). Truncated candidates are left out, since their continuation is unknown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.rollouts import PreferencePair, Rollout, Step
from selfreward.loop import paths
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.methods.checks import Violation, check_judge
from selfreward.loop.methods.plan import RubricUse, check_no_pair_rules, table
from selfreward.loop.methods.steps import (
    answer_of,
    answer_text,
    best_and_worst,
    count_backtracks,
    extend,
    is_over,
    kept_steps,
    pairs_to_compare,
)
from selfreward.loop.pairing import OUTCOMES, judged_pair, preference
from selfreward.loop.tasks import Compare, PromptItem, Search, Task, generation, make_task
from selfreward.recipe.recipe import Recipe

MOST_CANDIDATES = 8
"""The most candidates of a step: 28 pairs, which a judge reads within a request's deadline."""


class StepJudging(Contract):
    """How two candidate steps are compared: the rubric (of kind `pairwise`), the votes in each order, the sampling."""

    rubric: str = "pairwise"
    votes: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)


class ProcessRules(Contract):
    """The recipe's `[process]`: how the search builds an answer.

    `separator`: the text that ends every step but the last, such as `"\\nStep"` in `Step 1: ...`, or `" ;"`.
    `max_steps`: a longer answer is left unfinished. `judging`: how the model compares candidates. The recipe's
    `sampling` samples them: `n` for each step (6 in the paper, at T = 0.5 and p = 0.95), with at most `max_tokens`.

    `backtracks`: how often a search goes back a step because no candidate beats more than another. After that the
    answer continues with the first candidate, and the step gives no pair. The bound is ours: the paper goes back
    without limit, and the search of a confident model would never end.
    """

    separator: str = Field(default="\nStep", min_length=1)
    max_steps: int = Field(default=20, ge=1, le=100)
    backtracks: int = Field(default=3, ge=0, le=100)
    judging: StepJudging = StepJudging()

    @property
    def most_steps(self) -> int:
        """The most steps that a search samples: each backtrack drops two steps, or the first one."""
        return self.max_steps + 2 * self.backtracks

    @model_validator(mode="after")
    def _survives_a_template(self) -> Self:
        if self.separator != self.separator.rstrip():
            raise ValueError(
                f"separator={self.separator!r} ends with a blank, which chat templates cut off where an answer is "
                "continued: end it with the next step's first word, for example '\\nStep'"
            )
        return self


class Process(Method):
    """Prefers the best next step over the worst, after the same beginning."""

    name = "process"
    tables = {"process": ProcessRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """There are no scores in points, and the candidates of a step must fit one request."""
        if recipe.sampling.n > MOST_CANDIDATES:
            raise ValueError(
                f"sampling.n={recipe.sampling.n}: method='process' compares every two candidates of a step in one "
                f"request; give at most {MOST_CANDIDATES}"
            )
        message = "method='process' has no scores in points: of `pairs` give judge_pairs alone"
        check_no_pair_rules(recipe, message, "judge_pairs")
        if recipe.loop.measure_consistency:
            raise ValueError(
                "loop.measure_consistency ranks several answers, and method='process' gives one: leave it out"
            )

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """One of kind `pairwise` for the steps."""
        rubric = table(recipe, ProcessRules).judging.rubric
        return [*super().rubrics(recipe), RubricUse("process.judging.rubric", rubric, "pairwise")]

    def judges(self, recipe: Recipe) -> bool:
        """Steps are compared, not judged one by one."""
        return False

    def compares(self, recipe: Recipe) -> bool:
        """Every two candidates of a step are compared."""
        return True

    def answers(self, recipe: Recipe, stage: str) -> int:
        """One, built by the search."""
        return 1

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """One answer to a prompt, built by the search."""
        rules = table(recipe, ProcessRules)
        compare = Compare(of="steps", annotator=recipe.judging.annotator, **rules.judging.model_dump())
        search = Search(separator=rules.separator, max_steps=rules.max_steps, backtracks=rules.backtracks)
        task = make_task(run, recipe, stage, "rollouts", item, policy, generation(recipe.sampling, recipe.sampling.n))
        return task.model_copy(update={"compare": compare, "search": search})

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """A pair of each step at which one candidate beats more than another."""
        return build_pairs(rollouts, table(recipe, ProcessRules).separator)

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """Figures of the searches."""
        return monitors(rollouts, table(recipe, ProcessRules).separator)

    def answers_per_prompt(self, recipe: Recipe, stage: str) -> int:
        """The candidates of all steps."""
        return table(recipe, ProcessRules).most_steps * recipe.sampling.n

    def judging_per_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Every two candidates of each step in both orders."""
        rules, n = table(recipe, ProcessRules), recipe.sampling.n
        comparisons = rules.most_steps * n * (n - 1)
        return comparisons, comparisons * rules.judging.votes * rules.judging.max_tokens

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """One for each step."""
        return table(recipe, ProcessRules).max_steps

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that each search compared all its candidates and took the steps to which the comparisons lead."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        name, rules = paths.rollouts(run, stage), table(recipe, ProcessRules)
        yield from check_judge(name, rollouts, version, recipe.judging.annotator)
        short = [
            row.prompt_id
            for row in rollouts
            if not all(_is_complete(step, recipe.sampling.n, rules) for step in row.steps)
        ]
        if short:
            yield Violation("accounting", name, f"not every two candidates in both orders at each step: {short[:3]}")
        wrong = [row.prompt_id for row in rollouts if not _replays(row, rules)]
        if wrong:
            yield Violation("accounting", name, f"not the steps that the comparisons lead to: {wrong[:3]}")


def build_pairs(rollouts: Iterable[Rollout], separator: str) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair for each step of an answer at which one candidate beats more than another, and how rollouts ended.

    A score is the number of candidates beaten. `unscored`: no comparison has a verdict. `tie`: no step has a winner.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        step_pairs = [pair for pair in _pairs(rollout, separator) if pair is not None]
        judged = any(
            preference(step.matches, a, b) is not None
            for step in rollout.steps
            for a, b in pairs_to_compare(step.candidates, separator)
        )
        counts["kept" if step_pairs else "tie" if judged else "unscored"] += 1
        pairs += step_pairs
    return pairs, counts


def monitors(rollouts: Sequence[Rollout], separator: str) -> dict[str, float | None]:
    """Figures of a round; None where there is nothing to count.

    `mean_steps`: steps of an answer. `mean_backtracks`: backtracks of a search. `finished`: the share of complete
    answers. `paired_steps`: the share of the answers' steps that gave a pair. `invalid_vote_rate`: the share of all
    comparisons without a verdict.
    """
    paired = [pair for rollout in rollouts for pair in _pairs(rollout, separator)]
    invalid = [match.status != "ok" for rollout in rollouts for step in rollout.steps for match in step.matches]
    return {
        "mean_steps": fmean(len(kept_steps(rollout.steps)) for rollout in rollouts) if rollouts else None,
        "mean_backtracks": fmean(count_backtracks(rollout.steps) for rollout in rollouts) if rollouts else None,
        "finished": fmean(rollout.responses[0].finish_reason == "stop" for rollout in rollouts) if rollouts else None,
        "paired_steps": fmean(pair is not None for pair in paired) if paired else None,
        "invalid_vote_rate": fmean(invalid) if invalid else None,
    }


def _pairs(rollout: Rollout, separator: str) -> list[PreferencePair | None]:
    """For each step of the answer its pair, or None."""
    taken = kept_steps(rollout.steps)
    return [_pair(rollout, step, answer_text(taken[:number]), separator) for number, step in enumerate(taken)]


def _pair(rollout: Rollout, step: Step, beginning: str, separator: str) -> PreferencePair | None:
    choice = best_and_worst(step.candidates, step.matches, separator)
    if choice is None or choice.best_wins == choice.worst_wins:
        return None
    texts = (step.candidates[choice.best].text, step.candidates[choice.worst].text)
    prompt = [*rollout.prompt, *([Message(role="assistant", content=beginning)] if beginning else [])]
    return judged_pair(rollout, texts, (choice.best_wins, choice.worst_wins), prompt=prompt, separator=separator)


def _is_complete(step: Step, candidates: int, rules: ProcessRules) -> bool:
    """Whether a step has all its candidates and a comparison of every two in both orders."""
    orders = [order for a, b in pairs_to_compare(step.candidates, rules.separator) for order in ((a, b), (b, a))]
    compared = Counter((match.first, match.second) for match in step.matches)
    return len(step.candidates) == candidates and compared == dict.fromkeys(orders, rules.judging.votes)


def _replays(rollout: Rollout, rules: ProcessRules) -> bool:
    """Replay the search from its recorded samples. True if it takes the same steps."""
    steps = list[Step]()
    for recorded in rollout.steps:
        if is_over(steps, rules.separator, rules.max_steps):
            return False
        steps = extend(steps, recorded.candidates, recorded.matches, rules.separator, rules.backtracks)
    ended = is_over(steps, rules.separator, rules.max_steps)
    return ended and steps == rollout.steps and rollout.responses == [answer_of(steps, rules.separator)]
