"""`selfreward audit`: check a run from its artifacts alone."""

import typer

from selfreward.cli.options import Artifacts, RunName
from selfreward.cli.output import stderr


def audit(run: RunName, artifacts: Artifacts = None) -> None:
    """Check a run from its artifacts alone, after crashes or before its data is reused, and print every violation.

    The journal follows the plan, every checkpoint is what its manifest says and descends from its parent, every prompt
    is accounted for exactly once, every answer is of the policy version that was served, and the pairs are those that
    the rollouts give.

    Example: selfreward audit countdown-0

    Exit status: 0 no violation, 1 a violation, 2 no such run.
    """
    from selfreward.loop.audit.audit import audit as find_violations
    from selfreward.settings import Settings
    from selfreward.store.artifacts import ArtifactStore

    root = artifacts or Settings().artifacts
    try:
        violations = find_violations(ArtifactStore(root), run)
    except FileNotFoundError as error:
        message = f"no run {run!r} below {root}: {error.filename or error}; give another RUN or --artifacts"
        stderr.print(message, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    for violation in violations:
        typer.echo(f"{violation.kind}: {violation.artifact}: {violation.detail}")
    typer.echo(f"run {run}: {len(violations)} violations")
    raise typer.Exit(bool(violations))
