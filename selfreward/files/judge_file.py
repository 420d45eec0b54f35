"""Judge a file of any size: check all rows first, continue where an earlier run stopped, write each row once.

Rows of an earlier run whose votes all ended in `error` are judged again, since that was the engine's failure.
"""

import json
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem
from selfreward.files.judged_rows import JudgedRows, judged_row, restore_rows, write_parquet
from selfreward.files.rows import JUDGED_BY, Fields, Row, RowError, check_rows, read_rows, to_item
from selfreward.progress import ShowProgress

_REPORT_EVERY = 16
_MOST_SHOWN = 500


@dataclass
class Summary:
    """Statistics of all judged rows. `histogram` counts scores, each rounded half up to a whole number.

    `continued_at` is the number of rows that an earlier run had judged, `total` the sum of the scores. `errors` has the
    reason of each row whose votes all ended in `error`, by its index.
    """

    rows: int = 0
    continued_at: int = 0
    total: float = 0.0
    histogram: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """Number of rows with a score."""
        return self.histogram.total()

    @property
    def mean(self) -> float | None:
        """The mean score; None when no row has a score."""
        return self.total / self.scored if self.scored else None

    def add(self, row: dict[str, Any]) -> None:
        """Count the next judged row."""
        self._count(row, self.rows)
        self.rows += 1

    def replace(self, index: int, row: dict[str, Any]) -> None:
        """Count a row in the place of one whose votes all ended in `error`."""
        del self.errors[index]
        self.failures -= Counter(["error"])
        self._count(row, index)

    def _count(self, row: dict[str, Any], index: int) -> None:
        votes = row["votes"]
        if votes and all(vote["status"] == "error" for vote in votes):
            self.errors[index] = str(votes[0]["reason"] or votes[0]["text"])[:_MOST_SHOWN]
            self.failures["error"] += 1
        elif row["score"] is None:
            self.failures[row["failure_kind"] or "unscored"] += 1
        else:
            self.total += row["score"]
            self.histogram[math.floor(row["score"] + 0.5)] += 1


def judge_file(
    client: JudgeClient, source: Path, out: Path, fields: Fields, options: JudgeOptions, report: ShowProgress
) -> Summary:
    """Judge every row of `source` and write it to `out`; both are `.jsonl` or `.parquet`.

    A `.jsonl` output grows row by row. A `.parquet` output appears at the end; until then its rows are in
    `<out>.partial.jsonl`. Raises RowError before any work when a row cannot be judged or `out` is another job's output,
    ServiceError when the judge fails. The rows judged so far stay, and the same call continues after them.
    """
    # Which files are read and written.
    if out.suffix not in (".jsonl", ".parquet"):
        raise RowError(f"--out {out} ends in {out.suffix!r}: choose .jsonl or .parquet")
    if source.resolve() == out.resolve():
        raise RowError(f"--out {out} is the input: choose another file")
    as_parquet = out.suffix == ".parquet"
    rows_file = out.with_name(f"{out.name}.partial.jsonl") if as_parquet else out
    options = {"rubric": "additive5", **options}

    # A finished Parquet file needs no judge, unless the engine failed.
    if as_parquet and out.exists() and not rows_file.exists():
        total = check_rows(source, fields, _every(report, "check", None))
        summary = _summarise_finished(source, out, total, options)
        if not summary.errors:
            return summary
        restore_rows(source, out, rows_file)

    # Check every row against what the rubric needs.
    rubric = client.rubric(options["rubric"])
    fields = fields._replace(reference="{reference}" in rubric["template"])
    total = check_rows(source, fields, _every(report, "check", None))
    # The id has the hash of the rubric's text: if that changes, the judge refuses, so no file mixes two rubrics.
    options = {**options, "rubric": rubric["id"]}

    # Judge the rows that are not judged yet, and then those again that an earlier run got no votes for.
    with JudgedRows(rows_file) as output:
        summary = _summarise_recovered(source, output.path, read_rows(source), output.recover(), options)
        failed = list(summary.errors)
        if summary.rows < total:
            _judge_rest(client, source, output, fields, options, summary, _every(report, "judge", total))
        if failed:
            report_again = _every(report, "judge again", len(failed))
            output.replace(_judge_again(client, source, failed, fields, options, summary, report_again))

    if as_parquet:
        write_parquet(rows_file, out, _every(report, "write", total))
        rows_file.unlink()
    return summary


def _summarise_recovered(
    source: Path, path: Path, rows: Iterator[Row], judged_rows: Iterator[dict[str, Any]], options: JudgeOptions
) -> Summary:
    """Statistics of the rows that are judged already. Raises RowError unless they are the first rows of this job."""
    summary = Summary()
    for judged in judged_rows:
        row = next(rows, None)
        place = f"{path}, row {summary.rows + 1}"
        if row is None or _canonical({name: judged.get(name) for name in row.values}) != _canonical(row.values):
            raise RowError(
                f"{place} does not come from {source}: it holds another file's judgments, move it away or use another "
                "--out"
            )
        _check_same_job(place, judged, options)
        summary.add(judged)
    summary.continued_at = summary.rows
    return summary


def _check_same_job(place: str, judged: dict[str, Any], options: JudgeOptions) -> None:
    rubric, votes = options["rubric"], options.get("votes", 3)
    # A finished file is checked without asking the judge, so the option may be the rubric's name without the hash.
    if rubric not in (judged["rubric"], judged["rubric"].partition("@")[0]):
        raise RowError(f"{place} was judged by rubric {judged['rubric']}, not {rubric}: use another --out")
    if len(judged["votes"]) != votes:
        raise RowError(
            f"{place} has {len(judged['votes'])} votes, not {votes}: continue with as many, or use another --out"
        )
    if judged["judge_seed"] != options.get("seed"):
        old, new = (
            "no seed" if seed is None else f"seed {seed}" for seed in (judged["judge_seed"], options.get("seed"))
        )
        raise RowError(f"{place} was judged with {old}, not with {new}: continue with {old}, or use another --out")


def _judge_rest(
    client: JudgeClient,
    source: Path,
    output: JudgedRows,
    fields: Fields,
    options: JudgeOptions,
    summary: Summary,
    report: Callable[..., None],
) -> None:
    in_flight: deque[dict[str, Any]] = deque()

    def items() -> Iterator[JudgeItem]:
        for index, row in enumerate(islice(read_rows(source), summary.rows, None), summary.rows):
            in_flight.append(row.values)
            yield to_item(row.values, fields, index)

    for judged in client.judge_many(items(), **options):
        row = judged_row(in_flight.popleft(), judged, options.get("seed"))
        output.append(row)
        summary.add(row)
        report(summary.rows, {"mean": summary.mean or 0.0, "unscored": summary.failures.total() / summary.rows})


def _judge_again(
    client: JudgeClient,
    source: Path,
    indices: Sequence[int],
    fields: Fields,
    options: JudgeOptions,
    summary: Summary,
    report: Callable[..., None],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows at `indices` with new judgments."""
    chosen, in_flight = set(indices), deque[tuple[int, dict[str, Any]]]()

    def items() -> Iterator[JudgeItem]:
        for index, row in enumerate(read_rows(source)):
            if index in chosen:
                in_flight.append((index, row.values))
                yield to_item(row.values, fields, index)

    for done, judged in enumerate(client.judge_many(items(), **options), 1):
        index, values = in_flight.popleft()
        row = judged_row(values, judged, options.get("seed"))
        summary.replace(index, row)
        report(done)
        yield index, row


def _summarise_finished(source: Path, out: Path, total: int, options: JudgeOptions) -> Summary:
    """Statistics of a finished Parquet file. Types may have been widened, so compares no values but counts rows."""
    summary = Summary()
    for row in read_rows(out):
        if not row.values.keys() >= JUDGED_BY:
            raise RowError(f"{out} is there already and judging did not write it: move it away or use another --out")
        _check_same_job(f"{out}, {row.place}", row.values, options)
        summary.add(row.values)
    if summary.rows != total:
        raise RowError(f"{out} has {summary.rows} rows, {source} has {total}: move it away or use another --out")
    summary.continued_at = summary.rows
    return summary


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _every(report: ShowProgress, phase: str, total: int | None) -> Callable[..., None]:
    """Report the progress of a phase after every `_REPORT_EVERY` rows."""

    def report_rows(done: int, metrics: dict[str, float] | None = None) -> None:
        if done % _REPORT_EVERY == 0 or done == total:
            report({"stage": "", "phase": phase, "done": done, "total": total, "metrics": metrics or {}})

    return report_rows
