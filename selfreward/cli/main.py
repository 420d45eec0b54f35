"""The `selfreward` command line.

Each command is a function in a file of this folder. A command imports what it needs when it runs, so that
`selfreward --help` loads neither pydantic nor NumPy and answers at once.
"""

import errno
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from selfreward.cli import data, model, rubric
from selfreward.cli.capability import capability
from selfreward.cli.judge import judge
from selfreward.cli.judge_attacks import judge_attacks
from selfreward.cli.judge_eval import judge_eval
from selfreward.cli.mt_bench import mt_bench
from selfreward.cli.output import stderr
from selfreward.cli.runs import control
from selfreward.cli.runs.audit import audit
from selfreward.cli.runs.compare import compare
from selfreward.cli.runs.export import export
from selfreward.cli.runs.init import init
from selfreward.cli.runs.look import look
from selfreward.cli.runs.plan import plan
from selfreward.cli.runs.report import report
from selfreward.cli.services import dead, keys
from selfreward.cli.services.doctor import doctor
from selfreward.cli.services.up import up
from selfreward.cli.win_rate import win_rate
from selfreward.processes.stack_file import DEFAULT_FOLDER, FOLDER_VARIABLE, StackError, running_urls

_EXTRAS = {"numpy": "evaluation", "matplotlib": "evaluation", "sklearn": "evaluation", "jinja2": "orchestrator"}
"""The extra that each package comes with, of those that a command may miss."""


class Commands(TyperGroup):
    """Prints an error that a user can mend without a traceback, and ends with status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, on the local stack where one runs and no other addresses are set."""
        folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
        for name, url in running_urls(folder).items():
            os.environ.setdefault(f"SELFREWARD_{name.upper()}_URL", url)
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            stderr.print(message, markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


def _message(error: Exception) -> str | None:
    """What to print instead of a traceback; None for an error that no user can mend."""
    if isinstance(error, OSError):
        return _what_the_system_says(error)
    # Errors derived from it that are not listed below are faults of the program.
    if type(error) is RuntimeError:
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            return None
        return (
            f"{package} is missing: pip install 'selfreward-loop[{_EXTRAS[package]}]', or `make install` in a checkout"
        )

    if isinstance(error, StackError):
        return str(error)

    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from selfreward.client.http import ServiceError
    from selfreward.evaluation.models.capability import PanelError
    from selfreward.evaluation.report.inputs import ReportError
    from selfreward.files.rows import RowError
    from selfreward.loop.rows import SeedError
    from selfreward.pretrained.wheel import FetchError
    from selfreward.recipe.recipe import RecipeError
    from selfreward.server.startup import what_is_wrong
    from selfreward.settings import Settings
    from selfreward.store.artifacts import InvalidName
    from selfreward.store.manifest import InvalidArtifact

    if isinstance(error, ValidationError):
        return what_is_wrong(error) if error.title == Settings.__name__ else None
    mendable = (
        FetchError,
        InvalidArtifact,
        InvalidName,
        PanelError,
        RecipeError,
        ReportError,
        RowError,
        SeedError,
        ServiceError,
        SettingsError,
    )
    return str(error) if isinstance(error, mendable) else None


def _what_the_system_says(error: OSError) -> str | None:
    """The file, what the operating system says of it, and the remedy; None where that is no file of the user's."""
    if error.errno == errno.ENOSPC:
        return f"{error.strerror}: free some, and give the command again"
    return f"{error.filename}: {error.strerror}; give another path" if error.filename is not None else None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run the self-rewarding loop: one model answers, judges its own answers, trains on the pairs, and repeats.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("selfreward-loop"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The options of the command line itself; what it is for is said above."""


for panel, commands in {
    "Runs": (
        init,
        control.run,
        control.watch,
        control.status,
        control.stop,
        control.resume,
        report,
        export,
        look,
        compare,
        audit,
        plan,
    ),
    "Judge": (judge, judge_eval, judge_attacks),
    "Models": (win_rate, mt_bench, capability),
    "Services": (up, doctor),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(data.commands, name="data", rich_help_panel="Runs")
app.add_typer(rubric.commands, name="rubric", rich_help_panel="Judge")
app.add_typer(model.commands, name="model", rich_help_panel="Models")
app.add_typer(dead.commands, name="dead", rich_help_panel="Services")
app.add_typer(keys.commands, name="keys", rich_help_panel="Services")
