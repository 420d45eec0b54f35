"""The command line's evaluation commands: each is a module of the evaluation, which reads its own arguments."""

import typer

from selfreward.cli.judge import PASSED_ON, run_evaluation

commands = typer.Typer()


@commands.command("win-rate", context_settings=PASSED_ON)
def win_rate(context: typer.Context) -> None:
    """Judge a model's answers against a baseline's: raw and length-controlled win rate (--help says more)."""
    run_evaluation("selfreward.evaluation.models.win_rate_cli", context.args, "sklearn")


@commands.command("compare", context_settings=PASSED_ON)
def compare(context: typer.Context) -> None:
    """Put runs side by side in a table, and with --out in a report with plots (--help says more)."""
    run_evaluation("selfreward.evaluation.models.compare_report", context.args, "sklearn")


@commands.command("mt-bench", context_settings=PASSED_ON)
def mt_bench(context: typer.Context) -> None:
    """Have two-turn questions answered and each answer graded from 1 to 10 (--help says more)."""
    run_evaluation("selfreward.evaluation.models.mt_bench_cli", context.args)


@commands.command("capability", context_settings=PASSED_ON)
def capability(context: typer.Context) -> None:
    """Measure the served model on a panel of tasks by lm-eval, and what it lost (--help says more)."""
    run_evaluation("selfreward.evaluation.models.capability_cli", context.args)
