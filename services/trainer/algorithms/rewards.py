"""The reward of an answer: the judge's verdict on its final answer (2505.08827), while the policy trains.

A verdict that cannot be read is a reward of 0, as in the paper. A judge or an engine that fails says nothing about an
answer: the trainer waits for it, and after `patience_s` the attempt at the job fails. The next attempt goes on from the
last checkpoint.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfreward.backoff import backoff
from selfreward.client.http import RETRIED_STATUSES, ServiceError, WrongPolicyVersion
from selfreward.client.judge import Judged
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.base import content_key
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.contracts.reinforcement import JobVerdicts, Sample
from selfreward.loop.own_verdicts import final_answer, reward

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 15.0
_NAME = "samples-{rank}.jsonl"
Messages = Sequence[dict[str, Any]]


class JudgeAway(RuntimeError):
    """The judge gave no verdicts for longer than the job's patience."""


class SampleLog:
    """Appends the sampled answers of process `rank` to its file in the job's folder.

    Training goes on from checkpoint `step`, so samples of later steps, which no longer train anything, are dropped.
    """

    def __init__(self, folder: Path, rank: int, step: int) -> None:
        self._path = folder / _NAME.format(rank=rank)
        kept = [sample for sample in _read(self._path) if sample.step <= step]
        self._path.write_text("".join(f"{sample.model_dump_json()}\n" for sample in kept))

    def write(self, samples: Sequence[Sample]) -> None:
        """Add the answers of a step."""
        with self._path.open("a") as stream:
            stream.writelines(f"{sample.model_dump_json()}\n" for sample in samples)


def all_samples(folder: Path) -> list[Sample]:
    """The sampled answers of all processes of a job, by step."""
    samples = [sample for path in sorted(folder.glob(_NAME.format(rank="*"))) for sample in _read(path)]
    return sorted(samples, key=lambda sample: sample.step)


def _read(path: Path) -> Iterator[Sample]:
    """The samples on whole lines: a kill may have cut the last line short."""
    lines: Iterable[str] = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        yield Sample.model_validate(json.loads(line))


class Verdicts:
    """Rewards by the judge of `rules`; each answer is noted in `log`. The same text is judged once in a call.

    `connect` makes a client, which is closed after each call, since minutes of training lie between two calls.
    """

    def __init__(
        self, rules: JobVerdicts, seed: int, log: SampleLog, connect: Callable[[], JudgeClient] = JudgeClient
    ) -> None:
        self._rules = rules
        self._seed = seed
        self._log = log
        self._connect = connect

    def rewards(
        self, prompts: Sequence[Messages], texts: Sequence[str], prompt_ids: Sequence[str], step: int
    ) -> list[float]:
        """1.0 or 0.0 for each of the `texts`, answers to `prompts`, which train step `step` (from 1).

        Raises JudgeAway, and ServiceError where waiting does not help: an unknown rubric, a wrong key.
        """
        answers = [final_answer(text, self._rules.answer_format) for text in texts]
        keys = [content_key(prompt_id, answer) for prompt_id, answer in zip(prompt_ids, answers, strict=True)]
        items = {
            key: JudgeItem.model_validate({"id": key, "prompt": prompt, "response": answer})
            for key, prompt, answer in zip(keys, prompts, answers, strict=True)
            if answer is not None
        }
        # An answer that is not in the asked form has no final answer: it is not judged and gets 0.
        verdicts = self._judge(items)
        # Every answer is noted with its reward.
        samples = []
        for key, prompt, text, prompt_id, answer in zip(keys, prompts, texts, prompt_ids, answers, strict=True):
            judged = verdicts.get(key)
            score = judged.judgment.score if judged else None
            samples.append(
                Sample(
                    step=step,
                    prompt_id=prompt_id,
                    prompt=prompt[-1]["content"],
                    text=text,
                    answer=answer,
                    score=score,
                    reward=reward(score, self._rules.correct_from),
                    judge_version=judged.judge_version if judged else None,
                )
            )
        self._log.write(samples)
        return [float(sample.reward) for sample in samples]

    def _judge(self, items: dict[str, JudgeItem]) -> dict[str, Judged]:
        verdicts: dict[str, Judged] = {}
        started, waits = time.monotonic(), backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        while missing := [item for key, item in items.items() if key not in verdicts]:
            problem = self._ask(missing, verdicts)
            if problem is None:
                continue
            if time.monotonic() - started > self._rules.patience_s:
                raise JudgeAway(
                    f"{len(items) - len(verdicts)} of {len(items)} answers have no verdict after "
                    f"{self._rules.patience_s:g} s: {problem}"
                )
            time.sleep(next(waits))
        return verdicts

    def _ask(self, items: Sequence[JudgeItem], verdicts: dict[str, Judged]) -> str | None:
        """Add the verdicts on `items` to `verdicts`. Returns why some are missing, None when none is."""
        rules, problem = self._rules, None
        try:
            with self._connect() as client:
                for judged in client.judge_many(
                    items,
                    rubric=rules.rubric,
                    votes=rules.votes,
                    temperature=rules.temperature,
                    top_p=rules.top_p,
                    max_tokens=rules.max_tokens,
                    policy=rules.policy,
                    seed=self._seed,
                ):
                    if _engine_failed(judged.judgment):
                        problem = judged.judgment.failure_reason or "the engine failed"
                    else:
                        verdicts[judged.judgment.id] = judged
        except WrongPolicyVersion as error:
            problem = str(error)
        except ServiceError as error:
            if error.status is not None and error.status not in RETRIED_STATUSES:
                raise
            problem = str(error)
        return problem


def _engine_failed(judgment: Judgment) -> bool:
    """Whether there is no score because the engine failed, and not because of the judge's words."""
    return judgment.score is None and any(vote.status == "error" for vote in judgment.votes)
