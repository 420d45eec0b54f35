"""Hinted answers over unhinted ones: the pair rule of G-Zero (2605.09959). No judge is asked.

The policy writes a hint for each prompt and answers with and without the hint. DPO prefers the hinted answer, as an
answer to the prompt alone. `delta` measures the effect of a hint: the mean log-probability per token of the unhinted
answer without the hint minus with it, in nats. Above 0 the hint makes that answer less likely.

- **Sampled and judged**: a hint, n answers without it and n with it to each prompt; no judgments.
- **Pairs and loss**: n pairs of a prompt, the i-th hinted answer over the i-th unhinted one; DPO.
- **Keys**: `[hinted]`: `request` asks for a hint, `shown` presents it, both with `{prompt}`; `min_delta` filters pairs.
- **Not as in the paper**: one model does all; the paper trains a second one to write prompts and hints with high delta.
- **Choose it** as a control without a judge, beside `cream`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Any, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.rollouts import PreferencePair, Response, ResponseLogprobs, Rollout
from selfreward.contracts.training import TrainJob
from selfreward.loop import paths
from selfreward.loop.cost import Cost
from selfreward.loop.methods.base import Inputs, Method, logprobs_of
from selfreward.loop.methods.checks import Violation, check_accounting, check_answers, check_logprobs
from selfreward.loop.methods.implicit import Place, rows_by_place
from selfreward.loop.methods.plan import check_no_pair_rules, table
from selfreward.loop.pairing import OUTCOMES, truncated_texts, unjudged_pair
from selfreward.loop.tasks import Generate, PromptItem, Task, generation, items_of, make_task
from selfreward.loop.train_jobs import logprobs_job
from selfreward.recipe.recipe import Recipe

_PLACES = re.compile(r"\{(prompt|hint)\}")
_HINTED = ".hinted"
"""Suffix of the id of a prompt with its hint, since log-probabilities are looked up by prompt id and answer."""


class HintedRules(Contract):
    """The recipe's `[hinted]`. `request` asks for a hint and has `{prompt}`; `shown` has `{prompt}` and `{hint}`.

    Hints are sampled at `temperature` and `top_p`, with at most `max_tokens`. `min_delta` (nats per token) drops the
    pairs of lower delta; without it, every pair is kept.
    """

    request: str = "Give a short hint that helps to answer this, without the answer itself.\n\n{prompt}"
    shown: str = "{prompt}\n\nHint: {hint}"
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=1, le=8192)
    min_delta: float | None = None

    @model_validator(mode="after")
    def _has_its_places(self) -> Self:
        for name, needed in (("request", {"prompt"}), ("shown", {"prompt", "hint"})):
            places = set(_PLACES.findall(getattr(self, name)))
            if places != needed:
                wanted = " and ".join(f"{{{place}}}" for place in sorted(needed))
                raise ValueError(
                    f"{name}={getattr(self, name)!r} has not exactly the places {wanted}: write them there"
                )
        return self


class Hinted(Method):
    """Prefers the answer with the policy's own hint over the answer without a hint."""

    name = "hinted"
    tables = {"hinted": HintedRules}
    fewest_answers = 1

    def check_pairs(self, recipe: Recipe) -> None:
        """Answers have no scores."""
        message = "method='hinted' has no scores: of `pairs` give judge_pairs and chosen_truncated alone"
        check_no_pair_rules(recipe, message, "judge_pairs", "chosen_truncated")
        if recipe.loop.measure_consistency:
            raise ValueError("loop.measure_consistency is not for method='hinted', which scores by hints: leave it out")

    def judges(self, recipe: Recipe) -> bool:
        """No judge is asked."""
        return False

    def scores(self, recipe: Recipe) -> bool:
        """Answers are scored by the policy's probabilities, with the hint and without."""
        return True

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """Hints are written first; the unhinted answers come before the hinted ones."""
        if self.kind(recipe, stage) != "round":
            return super().data_phases(recipe, stage)
        return ("prompts", "hints", "rollouts", "answer_with_hint", "score", "pairs")

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Hinted answers need prompts, hints and unhinted answers; pairs need the hinted answers."""
        more = {}
        if phase in ("hints", "answer_with_hint", "audit"):
            more = {"items": paths.prompts(run, stage)}
        if phase in ("answer_with_hint", "audit"):
            more |= {"hints": _hints(run, stage), "rollouts": paths.rollouts(run, stage)}
        if phase in ("pairs", "audit"):
            more |= {"hinted": _hinted(run, stage)}
        if phase == "audit":
            more |= {"hinted failures": paths.failures(run, stage, "answer_with_hint")}
        return super().inputs(run, recipe, stage, phase) | more

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """A hint for each prompt; unhinted answers; hinted answers, with the unhinted ones beside them to be scored."""
        if phase not in ("hints", "answer_with_hint"):
            return super().tasks(run, recipe, stage, phase, policy, inputs)
        rules, items = table(recipe, HintedRules), items_of(inputs["items"])
        if phase == "answer_with_hint":
            generate, items = generation(recipe.sampling, recipe.sampling.n), _with_hints(items, rules, inputs)
        else:
            generate = Generate(n=1, **rules.model_dump(include={"temperature", "top_p", "max_tokens"}))
            items = [item.model_copy(update={"prompt": fill_template(rules.request, item.prompt)}) for item in items]
        return [make_task(run, recipe, stage, phase, item, policy, generate) for item in items]

    def results(
        self, run: str, stage: str, phase: str, rollouts: Sequence[Rollout]
    ) -> tuple[str, list[dict[str, Any]]]:
        """Hints and hinted answers have artifacts of their own."""
        artifact, rows = super().results(run, stage, phase, rollouts)
        return {"hints": _hints(run, stage), "answer_with_hint": _hinted(run, stage)}.get(phase, artifact), rows

    def score_job(self, run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
        """Scores the answers under the policy alone, to the prompts without hints and with them."""
        policy = paths.weights(run, self.actor(recipe, stage))
        return logprobs_job(run, recipe, stage, canary, [policy], [paths.rollouts(run, stage), _hinted(run, stage)])

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """Hinted answers over unhinted ones."""
        hinted = {rollout.prompt_id.removesuffix(_HINTED): rollout for rollout in _rollouts(inputs["hinted"])}
        deltas, rules = self._deltas(recipe, rollouts, inputs), table(recipe, HintedRules)
        return build_pairs(rollouts, hinted, deltas, rules, recipe.pairs.chosen_truncated)

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """`delta`: the mean over the round's unhinted answers, in nats per token; None without any."""
        deltas = self._deltas(recipe, rollouts, inputs)
        return {"delta": fmean(deltas.values()) if deltas else None}

    def _deltas(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[Place, float]:
        rows, n = rows_by_place(logprobs_of(inputs)), recipe.sampling.n
        deltas = {}
        for rollout in rollouts:
            policy = paths.weights(rollout.run, self.actor(recipe, rollout.stage))
            for index in range(n):
                measured = delta(rows, policy, rollout.prompt_id, index, n)
                if measured is not None:
                    deltas[rollout.prompt_id, index] = measured
        return deltas

    def cost(self, recipe: Recipe, stage: str) -> Cost:
        """The answers, and the hints."""
        cost = super().cost(recipe, stage)
        if self.kind(recipe, stage) != "round":
            return cost
        return cost._replace(answered=cost.answered + cost.prompts * table(recipe, HintedRules).max_tokens)

    def answers_per_prompt(self, recipe: Recipe, stage: str) -> int:
        """n without the hint and n with it."""
        return 2 * recipe.sampling.n

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """One for each answer."""
        return recipe.sampling.n

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that the policy answered every prompt with a hint, beside its unhinted answers."""
        name, n, hinted = _hinted(run, stage), recipe.sampling.n, _rollouts(inputs["hinted"])
        items = _with_hints(items_of(inputs["items"]), table(recipe, HintedRules), inputs)
        failed = [row["prompt_id"] for row in inputs["hinted failures"]]
        yield from check_accounting(name, [item.prompt_id for item in items], [row.prompt_id for row in hinted], failed)
        yield from check_answers(name, hinted, version, 2 * n)
        expected = {item.prompt_id: (item.prompt, _texts(item.responses)) for item in items}
        recorded = {row.prompt_id: (row.prompt, _texts(row.responses[n:])) for row in hinted}
        wrong = [prompt_id for prompt_id, content in recorded.items() if expected.get(prompt_id) != content]
        if wrong:
            yield Violation("accounting", name, f"not the round's own hints and unhinted answers: {wrong[:3]}")
        models = {paths.weights(run, self.actor(recipe, stage))}
        yield from check_logprobs(paths.logprobs(run, stage), [*rollouts, *hinted], logprobs_of(inputs), models)


def fill_template(template: str, prompt: Sequence[Message], hint: str = "") -> list[Message]:
    """The conversation with its last turn put into a template, in one pass, since a text may contain braces."""
    texts = {"prompt": prompt[-1].content, "hint": hint}
    turn = prompt[-1].model_copy(update={"content": _PLACES.sub(lambda place: texts[place[1]], template)})
    return [*prompt[:-1], turn]


def delta(rows: Mapping[Place, ResponseLogprobs], policy: str, prompt_id: str, index: int, n: int) -> float | None:
    """Mean log-probability per token of an unhinted answer without the hint minus with it, in nats.

    The answer has number `index` at its prompt, and number `n + index` at the prompt with its hint. None where it has
    no probability, because it exceeds the model's context.
    """
    without_hint, with_hint = rows.get((prompt_id, index)), rows.get((prompt_id + _HINTED, n + index))
    if without_hint is None or with_hint is None:
        return None
    return without_hint.logprobs[policy] / without_hint.tokens - with_hint.logprobs[policy] / with_hint.tokens


def build_pairs(
    rollouts: Sequence[Rollout],
    hinted: Mapping[str, Rollout],
    deltas: Mapping[Place, float],
    rules: HintedRules,
    chosen_truncated: bool = False,
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The i-th hinted answer over the i-th unhinted one, and how many rollouts ended in which way.

    `hinted` has the hinted rollouts by prompt id. `unscored`: the prompt has no hint, or no i at which neither answer
    is blank. `tie`: hinted and unhinted answers are the same. `truncated`: so is every hinted answer. `filtered`: no
    delta reaches `min_delta`. Pairs have the scores 1 and 0.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        unhinted_texts, with_hint = _texts(rollout.responses), hinted.get(rollout.prompt_id)
        # A hinted rollout also has the unhinted answers, after the hinted ones.
        places = enumerate(zip(_texts(with_hint.responses) if with_hint else [], unhinted_texts, strict=False))
        both = [(number, texts) for number, texts in places if texts[0].strip() and texts[1].strip()]
        different = [(number, texts) for number, texts in both if texts[0] != texts[1]]
        # A hinted answer that ended at the token limit is not chosen.
        cut = truncated_texts(with_hint.responses[: len(unhinted_texts)]) if with_hint else set[str]()
        complete = [(number, texts) for number, texts in different if chosen_truncated or texts[0] not in cut]
        least = -inf if rules.min_delta is None else rules.min_delta
        kept = [texts for number, texts in complete if deltas.get((rollout.prompt_id, number), -inf) >= least]
        decided = "filtered" if complete else "truncated" if different else "tie" if both else "unscored"
        counts["kept" if kept else decided] += 1
        pairs += [unjudged_pair(rollout, texts) for texts in kept]
    return pairs, counts


def _with_hints(items: Sequence[PromptItem], rules: HintedRules, inputs: Inputs) -> list[PromptItem]:
    """The prompts with their hints and their unhinted answers, without prompts that lack either."""
    hints = {row["prompt_id"]: row["responses"][0]["text"].strip() for row in inputs["hints"]}
    answered = {row["prompt_id"]: row["responses"] for row in inputs["rollouts"]}
    return [
        PromptItem.model_validate(
            {
                "prompt_id": item.prompt_id + _HINTED,
                "prompt": fill_template(rules.shown, item.prompt, hints[item.prompt_id]),
                "responses": [{"text": response["text"]} for response in answered[item.prompt_id]],
            }
        )
        for item in items
        if hints.get(item.prompt_id) and item.prompt_id in answered
    ]


def _hints(run: str, stage: str) -> str:
    return paths.data(run, f"hints-{stage}")


def _hinted(run: str, stage: str) -> str:
    return paths.data(run, f"hinted-{stage}")


def _rollouts(rows: Sequence[Mapping[str, Any]]) -> list[Rollout]:
    return [Rollout.model_validate(row) for row in rows]


def _texts(responses: Sequence[Response]) -> list[str]:
    return [response.text for response in responses]
