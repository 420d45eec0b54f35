"""`selfreward mt-bench`: two-turn questions, answered and graded."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from selfreward.cli.options import Policy, Resamples
from selfreward.cli.output import stderr, stdout, write_json, write_rows

if TYPE_CHECKING:
    from selfreward.client.judge_inputs import JudgeOptions
    from selfreward.evaluation.models.mt_bench import Question
    from selfreward.progress import ShowProgress


def mt_bench(
    questions: Annotated[Path, typer.Argument(help="Questions of two turns, .jsonl.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and answers.jsonl.")] = Path("mt-bench"),
    model: Annotated[str, typer.Option(help="Who answers: policy, or policy@N for one version.")] = "policy",
    policy: Policy = None,
    votes: Annotated[int, typer.Option(min=1, max=64, help="Grades of each answer; the judge is greedy.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 1024,
    seed: Annotated[int, typer.Option(help="Repeatable answers.")] = 0,
    resamples: Resamples = 1000,
) -> None:
    """Have a model answer questions of two turns, and each answer graded from 1 to 10: the mean over all turns.

    The generator at SELFREWARD_GENERATOR_URL (or any OpenAI-compatible endpoint) answers, at the temperature of the
    question's category. The judge at SELFREWARD_JUDGE_URL grades, questions of math, reasoning and coding beside their
    reference answers.

    Example: selfreward mt-bench examples/mt_bench/questions.jsonl --out reports/mt-bench
    """
    from selfreward.client.judge_sync import reachable_judge
    from selfreward.evaluation.bootstrap import Bootstrap
    from selfreward.evaluation.models.mt_bench import grade_all, grade_of, load_questions, scores
    from selfreward.progress import RunProgress

    options: JudgeOptions = {"votes": votes, "policy": policy, "seed": seed}
    asked = load_questions(questions)
    with reachable_judge() as client, RunProgress(stderr) as progress:
        answers, versions = asyncio.run(_answers(asked, model, max_tokens, seed, progress.show))
        judgments, rubrics = grade_all(client, asked, answers, options, progress.show)
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
    write_json(out / "report.json", report)
    write_rows(out / "answers.jsonl", rows)
    _show(report)
    typer.echo(f"{out / 'report.json'} {out / 'answers.jsonl'}")


async def _answers(
    questions: "Sequence[Question]", model: str, max_tokens: int, seed: int, progress: "ShowProgress"
) -> tuple[list[list[str]], set[str]]:
    from selfreward.client.generator import GeneratorClient
    from selfreward.client.http import ServiceClient
    from selfreward.evaluation.models.mt_bench import answer_all
    from selfreward.settings import Settings, key_of

    settings = Settings()
    async with ServiceClient(settings.generator_url, key_of(settings)) as service:
        return await answer_all(GeneratorClient(service, model), questions, max_tokens, seed, progress)


def _show(report: dict[str, Any]) -> None:
    """Print the score, by turn and by category."""
    table = Table("", "score", "95 % interval", "questions")
    figures = {"all turns": report["score"], "first turn": report["turn_1"], "second turn": report["turn_2"]}
    for name, figure in {**figures, **report["by_category"]}.items():
        if figure["value"] is None:
            table.add_row(name, "none", "", "0")
        else:
            interval = f"{figure['low']:.2f} to {figure['high']:.2f}"
            table.add_row(name, f"{figure['value']:.2f}", interval, str(figure["n"]))
    stdout.print(table)
    if report["unscored_turns"]:
        stdout.print(f"{report['unscored_turns']} of {2 * report['questions']} turns have no grade")
