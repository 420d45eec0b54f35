"""The `selfreward` command line.

Each command is a function in a file of this folder. A command imports what it needs when it runs, so that
`selfreward --help` loads neither pydantic nor NumPy and answers at once.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from selfreward.cli import dead, keys, model, rubric, runs
from selfreward.cli.audit import audit
from selfreward.cli.capability import capability
from selfreward.cli.compare import compare
from selfreward.cli.judge import judge
from selfreward.cli.judge_attacks import judge_attacks
from selfreward.cli.judge_eval import judge_eval
from selfreward.cli.mt_bench import mt_bench
from selfreward.cli.output import stderr
from selfreward.cli.plan import plan
from selfreward.cli.report import report
from selfreward.cli.win_rate import win_rate

_EVALUATION_EXTRA = ("numpy", "matplotlib", "sklearn")


class Commands(TyperGroup):
    """Prints an error that a user can mend without a traceback, and ends with status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            stderr.print(message, markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


def _message(error: Exception) -> str | None:
    """What to print instead of a traceback; None for an error that no user can mend."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in _EVALUATION_EXTRA:
            return None
        return f"{package} is missing: pip install 'selfreward-loop[evaluation]', or `make install` in a checkout"

    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from selfreward.client.http import ServiceError
    from selfreward.evaluation.models.capability import PanelError
    from selfreward.evaluation.report.inputs import ReportError
    from selfreward.files.rows import RowError
    from selfreward.pretrained.wheel import FetchError
    from selfreward.recipe.recipe import RecipeError
    from selfreward.server.startup import what_is_wrong
    from selfreward.settings import Settings

    if isinstance(error, ValidationError):
        return what_is_wrong(error) if error.title == Settings.__name__ else None
    mendable = (FetchError, PanelError, RecipeError, ReportError, RowError, ServiceError, SettingsError)
    return str(error) if isinstance(error, mendable) else None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the self-rewarding loop: one model answers, judges its own answers, trains on the pairs, and repeats.",
)
for panel, commands in {
    "Runs": (runs.run, runs.watch, runs.status, runs.stop, runs.resume, runs.export, report, compare, audit, plan),
    "Judge": (judge, judge_eval, judge_attacks),
    "Models": (win_rate, mt_bench, capability),
    "Services": (runs.up,),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(rubric.commands, name="rubric", rich_help_panel="Judge")
app.add_typer(model.commands, name="model", rich_help_panel="Models")
app.add_typer(dead.commands, name="dead", rich_help_panel="Services")
app.add_typer(keys.commands, name="keys", rich_help_panel="Services")
