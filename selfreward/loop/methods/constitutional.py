"""Constitutional AI (Bai et al. 2022, 2212.08073): revised answers for M1, preferences by principle for rounds.

The paper trains a preference model on the preferences and then PPO against that model. Here DPO trains on the
preferences directly, with the same soft labels. People need not say which answers are harmless; the IFT data shows
which are helpful.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import comb
from typing import Any, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.constitution import Constitution, Principle, fill
from selfreward.loop.cost import Cost
from selfreward.loop.methods.base import Inputs, Method, TrainingRows
from selfreward.loop.methods.checks import Violation, check_judge
from selfreward.loop.methods.plan import RubricUse, check_no_pair_rules, table
from selfreward.loop.pairing import OUTCOMES, judged_pair, pairs_to_compare, preference, truncated_texts
from selfreward.loop.rows import sft_row
from selfreward.loop.stages import Kind, is_adopted, stage_number
from selfreward.loop.tasks import Compare, PromptItem, Revision, Task, generation, items_of, make_task
from selfreward.recipe.recipe import Recipe


class ConstitutionRules(Contract):
    """The recipe's `[constitution]`: how the model revises and prefers answers (Bai et al. 2022, 2212.08073, sections
    3 and 4).

    `revisions`: how often an answer is criticised and revised before M1 trains on it (about 4 in the paper, by our
    notes). `rubric` (of kind `constitution`) and the sampling keys are for the comparisons. `principles`: the number of
    principles, drawn for each prompt, by which every two answers are compared.
    `soft_labels`: a pair's label is the probability that the chosen answer is better, not 1. `clamp`: the least and the
    greatest such probability; the paper has [0.4, 0.6] for a judge that reasons first, which makes it overconfident.
    """

    revisions: int = Field(default=4, ge=1, le=16)
    rubric: str = "constitution"
    principles: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    soft_labels: bool = True
    clamp: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _clamp_around_half(self) -> Self:
        if self.clamp is None:
            return self
        low, high = self.clamp
        if not 0 <= low < 0.5 < high <= 1:
            raise ValueError(f"clamp=[{low:g}, {high:g}] is not around 0.5 within 0 to 1: give for example [0.4, 0.6]")
        if not self.soft_labels:
            raise ValueError(f"clamp=[{low:g}, {high:g}] is for soft labels: leave it out with soft_labels=false")
        return self


class Constitutional(Method):
    """M1 trains on the model's own revised answers; rounds prefer answers by principles."""

    name = "constitutional"
    tables = {"constitution": ConstitutionRules}

    def check_data(self, recipe: Recipe) -> None:
        """The principles come from a file, and there is no judge that gives points to train."""
        if not recipe.data.constitution:
            raise ValueError("data.constitution is missing: give a file, recipes/constitutions/ holds the shipped ones")
        if recipe.loop.use_eft:
            raise ValueError(
                "loop.use_eft=true teaches a judge of points, and method='constitutional' compares: set "
                "loop.use_eft=false"
            )

    def check_pairs(self, recipe: Recipe) -> None:
        """Answers have no scores in points."""
        message = "method='constitutional' has no scores in points: of `pairs` give chosen_truncated alone"
        check_no_pair_rules(recipe, message, "chosen_truncated")

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """One of kind `constitution` for the comparisons."""
        rubric = table(recipe, ConstitutionRules).rubric
        return [*super().rubrics(recipe), RubricUse("constitution.rubric", rubric, "constitution")]

    def judges(self, recipe: Recipe) -> bool:
        """Answers are compared, not judged one by one."""
        return False

    def compares(self, recipe: Recipe) -> bool:
        """Every two answers are compared."""
        return True

    def baseline(self, recipe: Recipe) -> list[str]:
        """The SFT baseline answers a slice of the prompts and revises its answers."""
        return ["SFT"]

    def kind(self, recipe: Recipe, stage: str) -> Kind:
        """M1 is SFT of M0 on IFT data and the revisions."""
        return "revised" if stage == "M1" else super().kind(recipe, stage)

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """The revisions for M1 are not compared."""
        phases = super().data_phases(recipe, stage)
        return ("prompts", "rollouts", "pairs") if self.kind(recipe, stage) == "revised" else phases

    def slices(self, recipe: Recipe) -> int:
        """One more than rounds, for M1, unless M1 is another run's."""
        return super().slices(recipe) + (not is_adopted(recipe, "M1"))

    def slice_index(self, recipe: Recipe, stage: str) -> int:
        """M1 takes the first slice."""
        return stage_number(stage) - 1 - is_adopted(recipe, "M1")

    def answers(self, recipe: Recipe, stage: str) -> int:
        """M1 has the answer and, for each round of revision, a critique and a revision."""
        if self.kind(recipe, stage) != "revised":
            return super().answers(recipe, stage)
        return 1 + 2 * table(recipe, ConstitutionRules).revisions

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Rollouts and the audit need the run's copy of the constitution."""
        more = {"constitution": paths.data(run, "constitution")} if phase in ("rollouts", "audit") else {}
        return super().inputs(run, recipe, stage, phase) | more

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """For M1 one answer, criticised and revised. In rounds n answers, compared by the prompt's principles."""
        items, constitution = items_of(inputs["items"]), _constitution(inputs)
        if self.kind(recipe, stage) == "revised":
            return [_revision_task(run, recipe, stage, item, constitution, policy) for item in items]
        return [self._choice_task(run, recipe, stage, item, constitution, policy) for item in items]

    def _choice_task(
        self, run: str, recipe: Recipe, stage: str, item: PromptItem, constitution: Constitution, policy: str
    ) -> Task:
        rules = table(recipe, ConstitutionRules)
        compare = Compare(
            of="answers",
            annotator=recipe.judging.annotator,
            principles=choices(constitution.principles, rules.principles, recipe.seed, item.prompt_id),
            **rules.model_dump(include={"rubric", "temperature", "top_p", "max_tokens"}),
        )
        return self.rollout_task(run, recipe, stage, item, policy).model_copy(update={"compare": compare})

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """A pair of every two answers of which one is preferred."""
        return build_pairs(rollouts, table(recipe, ConstitutionRules), recipe.pairs.chosen_truncated)

    def training_rows(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> TrainingRows | None:
        """M1 trains on the last revisions."""
        if self.kind(recipe, stage) != "revised":
            return None
        rows, counts = revision_rows(rollouts)
        return TrainingRows(
            what="revisions",
            artifact=paths.revisions(run),
            rows=rows,
            record_artifact=paths.revisions_record(run),
            record={"prompts": len(rollouts), **counts},
            problem=""
            if rows
            else f"no revised answer can be trained on: {counts}; if most are truncated, raise sampling.max_tokens",
            figures={name: float(count) for name, count in counts.items()},
        )

    def cost(self, recipe: Recipe, stage: str) -> Cost:
        """For M1 an answer, then critiques that read one text and revisions that read two."""
        if self.kind(recipe, stage) != "revised" or is_adopted(recipe, stage):
            return super().cost(recipe, stage)
        prompts, rounds = recipe.prompts.per_iteration, table(recipe, ConstitutionRules).revisions
        return Cost(prompts, prompts * (1 + 2 * rounds) * recipe.sampling.max_tokens, prompts * 3 * rounds)

    def judging_per_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Every two answers in both orders, by each principle."""
        rules = table(recipe, ConstitutionRules)
        comparisons = 2 * comb(recipe.sampling.n, 2) * rules.principles
        return comparisons, comparisons * rules.max_tokens

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """One for every two answers."""
        return comb(recipe.sampling.n, 2)

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that every two answers were compared in both orders, by exactly the principles drawn for the
        prompt."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        if self.kind(recipe, stage) == "revised":
            return
        name, rules = paths.rollouts(run, stage), table(recipe, ConstitutionRules)
        yield from check_judge(name, rollouts, version, recipe.judging.annotator)
        principles, wrong = _constitution(inputs).principles, []
        for rollout in rollouts:
            drawn = choices(principles, rules.principles, recipe.seed, rollout.prompt_id)
            orders = [order for a, b in pairs_to_compare(rollout.responses) for order in ((a, b), (b, a))]
            expected = Counter((first, second, principle) for first, second in orders for principle in drawn)
            if expected != Counter((match.first, match.second, match.principle) for match in rollout.matches):
                wrong.append(rollout.prompt_id)
        if wrong:
            yield Violation(
                "accounting", name, f"not every two answers once in each order by its principles: {wrong[:3]}"
            )


def revisions(constitution: Constitution, rounds: int, seed: int, prompt_id: str) -> list[Revision]:
    """The requests of each round of revision for a prompt. Each round draws its principle independently."""
    rng = random.Random(content_key(seed, prompt_id, "revisions"))  # noqa: S311 - guards no secret
    drawn = [rng.choice(constitution.principles) for _ in range(rounds)]
    return [
        Revision(
            critique=fill(constitution.critique, principle=principle.critique),
            revision=fill(constitution.revision, principle=principle.revision),
        )
        for principle in drawn
    ]


def choices(principles: Sequence[Principle], count: int, seed: int, prompt_id: str) -> list[str]:
    """The `count` principles by which answers to a prompt are compared; all principles where there are fewer."""
    rng = random.Random(content_key(seed, prompt_id, "choices"))  # noqa: S311 - guards no secret
    return [principle.choice for principle in rng.sample(principles, min(count, len(principles)))]


def build_pairs(
    rollouts: Iterable[Rollout], rules: ConstitutionRules, chosen_truncated: bool = False
) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair of every two compared answers of which one is preferred, and how many rollouts ended in which way.

    Scores are probabilities. So is `weight`, within `rules.clamp` and only with soft labels. `tie`: all answers are the
    same or equally good. `truncated`: every preferred answer ended at the token limit.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        preferences = {(a, b): preference(rollout.matches, a, b) for a, b in pairs_to_compare(rollout.responses)}
        decided = {places: p for places, p in preferences.items() if p is not None}
        preferred = [_pair(rollout, a, b, p, rules) for (a, b), p in decided.items() if p != 0.5]
        cut = set[str]() if chosen_truncated else truncated_texts(rollout.responses)
        kept = [pair for pair in preferred if pair.chosen[0].content not in cut]
        alike = not preferences and any(response.text.strip() for response in rollout.responses)
        without = "tie" if decided or alike else "unscored"
        counts["kept" if kept else "truncated" if preferred else without] += 1
        pairs += kept
    return pairs, counts


def clamp(p: float, bounds: tuple[float, float] | None) -> float:
    """The probability, limited to `bounds` (section 4.1: 40 to 60 % for a judge that reasons first)."""
    return p if bounds is None else min(max(p, bounds[0]), bounds[1])


def revision_rows(rollouts: Iterable[Rollout]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of SFT data: each prompt with its last revision, and how many chains ended in which way.

    A rollout's responses are the answer and, for each round, a critique and a revision. `blank` and `truncated`
    revisions give no row. `unchanged` counts the `kept` revisions that equal the first answer.
    """
    rows: list[dict[str, Any]] = []
    counts = {"kept": 0, "blank": 0, "truncated": 0, "unchanged": 0}
    for rollout in rollouts:
        first, last = rollout.responses[0], rollout.responses[-1]
        if not last.text.strip():
            counts["blank"] += 1
        elif last.finish_reason == "length":
            counts["truncated"] += 1
        else:
            counts["kept"] += 1
            counts["unchanged"] += first.text == last.text
            rows.append(sft_row(rollout.prompt, last.text))
    return rows, counts


def _pair(rollout: Rollout, a: int, b: int, p_a: float, rules: ConstitutionRules) -> PreferencePair:
    (chosen, rejected), p = ((a, b), p_a) if p_a > 0.5 else ((b, a), 1 - p_a)
    texts = (rollout.responses[chosen].text, rollout.responses[rejected].text)
    return judged_pair(rollout, texts, (p, 1 - p), weight=clamp(p, rules.clamp) if rules.soft_labels else None)


def _revision_task(
    run: str, recipe: Recipe, stage: str, item: PromptItem, constitution: Constitution, policy: str
) -> Task:
    """One answer to a prompt, criticised and revised by principles that are drawn for the prompt."""
    rounds = revisions(constitution, table(recipe, ConstitutionRules).revisions, recipe.seed, item.prompt_id)
    task = make_task(run, recipe, stage, "rollouts", item, policy, generation(recipe.sampling, 1))
    return task.model_copy(update={"revise": rounds})


def _constitution(inputs: Inputs) -> Constitution:
    (row,) = inputs["constitution"]
    return Constitution.model_validate(row)
