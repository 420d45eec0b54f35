"""`selfreward mt-bench FILE` (or `python -m selfreward.evaluation.models.mt_bench_cli FILE`): two-turn questions,
answered and graded."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient, ServiceError
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient, reachable_judge
from selfreward.contracts.base import content_key
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.mt_bench import TURNS, Question, load_questions, rating, scores
from selfreward.files.rows import RowError
from selfreward.progress import RunProgress
from selfreward.settings import Settings, key_of

PLAIN, BESIDE_REFERENCE = "mtbench10", "mtbench10_reference"
_AT_ONCE = 16
_READ = ("ok", "unparsed", "out_of_range")
"""Votes whose text was written to its end."""
_err = Console(stderr=True)


async def answer_all(
    client: GeneratorClient, questions: Sequence[Question], max_tokens: int, seed: int, bars: RunProgress
) -> tuple[list[list[str]], set[str]]:
    """Both answers to every question, turn by turn, and the policy versions that gave them. Raises ServiceError."""
    room, versions, done = asyncio.Semaphore(_AT_ONCE), set[str](), 0

    async def answer(question: Question) -> list[str]:
        nonlocal done
        answers: list[str] = []
        async with room:
            for turn in range(TURNS):
                drawn = int(content_key(seed, str(question.question_id), turn), 16) % (1 << 31)
                generation = await client.chat(
                    question.conversation(answers),
                    temperature=question.temperature,
                    top_p=1.0,
                    max_tokens=max_tokens,
                    seed=drawn,
                )
                versions.add(generation.policy_version)
                answers.append(generation.responses[0].text)
        done += 1
        bars.show({"phase": "answer", "done": done, "total": len(questions)})
        return answers

    # Not a group of tasks: its error would be a group too, and the first one says what is wrong.
    return list(await asyncio.gather(*(answer(question) for question in questions))), versions


def grade_all(
    client: JudgeClient,
    questions: Sequence[Question],
    answers: Sequence[Sequence[str]],
    options: JudgeOptions,
    bars: RunProgress,
) -> tuple[list[list[Judgment]], list[str]]:
    """A judgment of each answer, and the rubrics' ids. Raises ServiceError."""
    found: list[list[Judgment]] = [[] for _ in questions]
    rubrics = set()
    for name, beside in ((PLAIN, False), (BESIDE_REFERENCE, True)):
        chosen: JudgeOptions = {**options, "rubric": name}
        places = [place for place, question in enumerate(questions) if question.has_reference is beside]
        items = [
            JudgeItem(
                id=f"{questions[place].question_id}/{turn + 1}",
                prompt=questions[place].conversation(answers[place][:turn]),
                response=answers[place][turn],
                reference=questions[place].reference[turn] if beside else None,
            )
            for place in places
            for turn in range(TURNS)
        ]
        for done, judged in enumerate(client.judge_many(items, **chosen)):
            found[places[done // TURNS]].append(judged.judgment)
            rubrics.add(judged.rubric)
            bars.show({"phase": "grade" + " beside a reference" * beside, "done": done + 1, "total": len(items)})
    return found, sorted(rubrics)


def grade_of(judgment: Judgment) -> float | None:
    """The mean of the grades in the votes' texts; None where no vote has one."""
    read = [rating(vote.text) for vote in judgment.votes if vote.status in _READ]
    given = [grade for grade in read if grade is not None]
    return fmean(given) if given else None


def show(report: dict[str, Any], console: Console) -> None:
    """Print the score, by turn and by category."""
    table = Table("", "score", "95 % interval", "questions")
    figures = {"all turns": report["score"], "first turn": report["turn_1"], "second turn": report["turn_2"]}
    for name, found in {**figures, **report["by_category"]}.items():
        if found["value"] is None:
            table.add_row(name, "none", "", "0")
        else:
            table.add_row(name, f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}", str(found["n"]))
    console.print(table)
    if report["unscored_turns"]:
        console.print(f"{report['unscored_turns']} of {TURNS * report['questions']} turns have no grade")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def mt_bench(
    questions: Annotated[Path, typer.Argument(help="Questions of two turns, .jsonl.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and answers.jsonl.")] = Path("mt-bench"),
    model: Annotated[str, typer.Option(help="Who answers: policy, or policy@N for one version.")] = "policy",
    policy: Annotated[str | None, typer.Option(help="Who grades: this version only, for example policy@1.")] = None,
    votes: Annotated[int, typer.Option(min=1, max=64, help="Grades of each answer; the judge is greedy.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 1024,
    seed: Annotated[int, typer.Option(help="Repeatable answers.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")] = 1000,
) -> None:
    """Have a model answer questions of two turns, and each answer graded from 1 to 10: the mean over all turns.

    The generator at SELFREWARD_GENERATOR_URL (or any OpenAI-compatible endpoint) answers, at the temperature of the
    question's category. The judge at SELFREWARD_JUDGE_URL grades, questions of math, reasoning and coding beside their
    reference answers.

    Example: selfreward mt-bench examples/mt_bench/questions.jsonl --out reports/mt-bench
    """
    settings = Settings()

    async def generate(asked: Sequence[Question], bars: RunProgress) -> tuple[list[list[str]], set[str]]:
        async with ServiceClient(settings.generator_url, key_of(settings)) as service:
            return await answer_all(GeneratorClient(service, model), asked, max_tokens, seed, bars)

    options: JudgeOptions = {"votes": votes, "policy": policy, "seed": seed}
    try:
        asked = load_questions(questions)
        with reachable_judge() as client, RunProgress(_err) as bars:
            answers, versions = asyncio.run(generate(asked, bars))
            judgments, rubrics = grade_all(client, asked, answers, options, bars)
    except (RowError, ServiceError) as error:
        _err.print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from None
    grades = [[grade_of(judgment) for judgment in row] for row in judgments]
    report = {
        "file": str(questions),
        "answered_by": sorted(versions),
        "graded_by": policy,
        "rubrics": rubrics,
        "votes": votes,
        "seed": seed,
        "bootstrap": {"resamples": resamples, "seed": 0, "level": 0.95},
        **scores(asked, grades, Bootstrap(resamples)),
    }
    rows = [
        {
            "question_id": question.question_id,
            "category": question.category,
            "turns": question.turns,
            "answers": given,
            "grades": grade,
            "judgments": [judgment.model_dump(mode="json") for judgment in row],
        }
        for question, given, grade, row in zip(asked, answers, grades, judgments, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    (out / "answers.jsonl").write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    show(report, Console())
    typer.echo(f"{out / 'report.json'} {out / 'answers.jsonl'}")


if __name__ == "__main__":
    app(prog_name="selfreward mt-bench")
