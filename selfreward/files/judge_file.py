"""Judge a file of any size: check all of it, continue where an earlier run stopped, and write each row once."""

import json
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem
from selfreward.files.judged_rows import JudgedRows, judged_row, write_parquet
from selfreward.files.rows import WRITTEN, Fields, Row, RowError, check_rows, read_rows, to_item

Report = Callable[[dict[str, Any]], None]
"""Told of progress as `selfreward.progress.RunProgress.show` is."""

_REPORT_EVERY = 16


@dataclass
class Summary:
    """Figures over all judged rows. `histogram` counts scores, each rounded half up to a whole number."""

    rows: int = 0
    continued_at: int = 0
    total: float = 0.0
    histogram: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def scored(self) -> int:
        """Rows with a score."""
        return self.histogram.total()

    @property
    def mean(self) -> float | None:
        """Mean score, None when no row has one."""
        return self.total / self.scored if self.scored else None

    def add(self, row: dict[str, Any]) -> None:
        """Count one judged row."""
        self.rows += 1
        if row["score"] is None:
            self.failures[row["failure_kind"] or "unscored"] += 1
        else:
            self.total += row["score"]
            self.histogram[math.floor(row["score"] + 0.5)] += 1


def judge_file(
    client: JudgeClient, source: Path, out: Path, fields: Fields, options: JudgeOptions, report: Report
) -> Summary:
    """Judge every row of `source` into `out`; both are `.jsonl` or `.parquet`.

    A `.jsonl` output grows row by row. A `.parquet` output appears at the end; until then its rows are in
    `<out>.partial.jsonl`. Raises RowError before any work when a row cannot be judged or `out` belongs to something
    else, ServiceError when the judge fails; what was judged stays, and the same call continues it.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise RowError(f"--out {out} ends in {out.suffix!r}: choose .jsonl or .parquet")
    if source.resolve() == out.resolve():
        raise RowError(f"--out {out} is the input: choose another file")
    as_parquet = out.suffix == ".parquet"
    rows_file = out.with_name(f"{out.name}.partial.jsonl") if as_parquet else out
    options = {"rubric": "additive5", **options}
    if as_parquet and out.exists() and not rows_file.exists():
        return _already_done(source, out, check_rows(source, fields, _every(report, "check", None)), options)
    rubric = client.rubric(options["rubric"])
    fields = fields._replace(reference="{reference}" in rubric["template"])
    total = check_rows(source, fields, _every(report, "check", None))
    # The id has the hash of the rubric's text: should that change meanwhile, the judge refuses, and no file mixes two.
    options = {**options, "rubric": rubric["id"]}
    with JudgedRows(rows_file) as output:
        summary = _recovered(source, output.path, read_rows(source), output.recover(), options)
        if summary.rows < total:
            _judge_rest(client, source, output, fields, options, summary, _every(report, "judge", total))
    if as_parquet:
        write_parquet(rows_file, out, _every(report, "write", total))
        rows_file.unlink()
    return summary


def _recovered(
    source: Path, path: Path, rows: Iterator[Row], judged: Iterator[dict[str, Any]], options: JudgeOptions
) -> Summary:
    """Figures of the rows that are judged already; RowError when they are not the first rows of this very job."""
    summary = Summary()
    for done in judged:
        row = next(rows, None)
        place = f"{path}, row {summary.rows + 1}"
        if row is None or _canonical({name: done.get(name) for name in row.values}) != _canonical(row.values):
            raise RowError(
                f"{place} does not come from {source}: it holds another file's judgments, move it away or use another "
                "--out"
            )
        _check_same_job(place, done, options)
        summary.add(done)
    summary.continued_at = summary.rows
    return summary


def _check_same_job(place: str, done: dict[str, Any], options: JudgeOptions) -> None:
    rubric, votes = options["rubric"], options.get("votes", 3)
    # A finished file is looked at without asking the judge, so the rubric may be a bare name here.
    if rubric not in (done["rubric"], done["rubric"].partition("@")[0]):
        raise RowError(f"{place} was judged by rubric {done['rubric']}, not {rubric}: use another --out")
    if len(done["votes"]) != votes:
        raise RowError(
            f"{place} has {len(done['votes'])} votes, not {votes}: continue with as many, or use another --out"
        )
    if done["judge_seed"] != options.get("seed"):
        was, given = (
            "no seed" if seed is None else f"seed {seed}" for seed in (done["judge_seed"], options.get("seed"))
        )
        raise RowError(f"{place} was judged with {was}, not with {given}: continue with {was}, or use another --out")


def _judge_rest(
    client: JudgeClient,
    source: Path,
    output: JudgedRows,
    fields: Fields,
    options: JudgeOptions,
    summary: Summary,
    report: Callable[..., None],
) -> None:
    sent: deque[dict[str, Any]] = deque()

    def items() -> Iterator[JudgeItem]:
        for index, row in enumerate(islice(read_rows(source), summary.rows, None), summary.rows):
            sent.append(row.values)
            yield to_item(row.values, fields, index)

    for judged in client.judge_many(items(), **options):
        row = judged_row(sent.popleft(), judged, options.get("seed"))
        output.append(row)
        summary.add(row)
        report(summary.rows, {"mean": summary.mean or 0.0, "unscored": summary.failures.total() / summary.rows})


def _already_done(source: Path, out: Path, total: int, options: JudgeOptions) -> Summary:
    """Figures of a finished Parquet file. Its columns may have widened types, so the rows are only counted."""
    summary = Summary()
    for row in read_rows(out):
        if not row.values.keys() >= set(WRITTEN):
            raise RowError(f"{out} is there already and judging did not write it: move it away or use another --out")
        _check_same_job(f"{out}, {row.place}", row.values, options)
        summary.add(row.values)
    if summary.rows != total:
        raise RowError(f"{out} has {summary.rows} rows, {source} has {total}: move it away or use another --out")
    summary.continued_at = summary.rows
    return summary


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _every(report: Report, phase: str, total: int | None) -> Callable[..., None]:
    def told(done: int, metrics: dict[str, float] | None = None) -> None:
        if done % _REPORT_EVERY == 0 or done == total:
            report({"stage": "", "phase": phase, "done": done, "total": total, "metrics": metrics or {}})

    return told
