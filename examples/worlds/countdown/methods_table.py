"""The table of methods: every contender's results over the seeds, as rows, Markdown and a plot."""

from collections.abc import Sequence
from typing import Any

from examples.worlds.countdown.contenders import BLIND
from selfreward.evaluation.models.compare_report import PANELS, dots
from selfreward.evaluation.models.dot_plot import Dot, dot_plot
from selfreward.evaluation.report.cells import DASH

Entry = dict[str, Any]
"""The result of `selfreward.evaluation.models.compare.compared` for a run, with its contender, its seed, and the number
of answers that the rounds `sampled`. A failed run has only contender, seed and `failed`, the reason."""
_FIGURES = (
    "solve_rate",
    "solve_rate_greedy",
    "gain",
    "judge_accuracy",
    "win_rate",
    "length_controlled_win_rate",
    "mean_length",
    "pair_yield",
)
_COLUMNS = (
    ("solve_rate", "solved %", 100),
    ("gain", "more than M1, points", 100),
    ("solve_rate_greedy", "solved, greedy %", 100),
    ("judge_accuracy", "judge right %", 100),
    ("win_rate", "win rate against M1 %", 100),
    ("length_controlled_win_rate", "… length controlled %", 100),
    ("mean_length", "characters", 1),
    ("pair_yield", "pair yield %", 100),
    ("minutes", "minutes", 1),
)


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each contender, in the order of the entries, M1 first.

    Each figure is `{mean, lowest, highest, by_seed}` over the seeds; `by_seed` has each seed's value with its 95 %
    bootstrap interval over prompts. Failed seeds have the reason.
    """
    finished = [entry for entry in entries if "failed" not in entry]
    first = _m1_row(finished)
    names = dict.fromkeys(entry["contender"] for entry in entries)
    return [
        *([first] if first else []),
        *(_row(name, [e for e in entries if e["contender"] == name]) for name in names),
    ]


def markdown(table: dict[str, Any]) -> str:
    """The table as a page: means over seeds, then every seed with its own interval."""
    # The means over the seeds.
    head = ["method", "seeds", *(label for _, label, _ in _COLUMNS)]
    lines = [
        "# Every method on Countdown, from the same M1",
        "",
        f"`{table['command']}` at commit `{table['commit']}`. Every contender starts from the seed's M1 (`{BLIND}` "
        "from its own, whose judge was taught by annotators who believe every calculation) and may sample "
        f"{table['rollouts']:,} answers in each round ({table['rounds']} of them); its last model is measured by the "
        "independent checker on the same held-out problems. Each cell: the mean over the seeds, in brackets the lowest "
        "and the highest seed.",
        "",
        *_lines(head, [[row["method"], _seeds(row), *(_cell(row, *c) for c in _COLUMNS)] for row in table["rows"]]),
        "",
        "![What each method came to, by seed](table.svg)",
        "",
        "Ticks: the seed's M1. Lines: 95 % bootstrap intervals over problems.",
        "",
        "## Every seed",
        "",
        "Brackets: 95 % bootstrap intervals over problems.",
        "",
    ]
    # Every seed.
    cells = [
        [row["method"], str(seed), *(_seed_cell(row, seed, *column) for column in _COLUMNS)]
        for row in table["rows"]
        for seed in row["seeds"]
    ]
    lines += _lines(["method", "seed", *head[2:]], cells)
    # Failures, remarks and claims.
    remarks = [
        f"- {row['method']}, seed {seed}: {text}"
        for row in table["rows"]
        for kind, label in (("failed", ""), ("alarms", "alarms: "), ("warnings", ""))
        for seed, texts in row.get(kind, {}).items()
        for text in [label + (texts if isinstance(texts, str) else "; ".join(texts))]
    ]
    if remarks:
        lines += ["", "## Failures, alarms and warnings", "", *remarks]
    if table["claims"]:
        lines += ["", "## What needs no scale", "", *_claims(table["claims"])]
    return "\n".join(lines) + "\n"


def plot(entries: Sequence[Entry]) -> str:
    """An SVG document: a row for each contender, a point for each seed."""
    finished = [entry for entry in entries if "failed" not in entry]
    seeds = sorted({entry["seed"] for entry in finished})
    names = dict.fromkeys(entry["contender"] for entry in finished)
    by_place = {(entry["contender"], entry["seed"]): dots(entry) for entry in finished}
    plotted = []
    for name in names:
        nothing = [Dot(None)] * len(PANELS)
        points = [by_place.get((name, seed), nothing) for seed in seeds]
        plotted.append((name, [list(panel) for panel in zip(*points, strict=True)]))
    return dot_plot(plotted, PANELS, [f"seed {seed}" for seed in seeds], "methods")


def _row(name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    finished = [entry for entry in entries if "failed" not in entry]
    return {
        "method": name,
        "seeds": [entry["seed"] for entry in finished],
        "failed": {str(entry["seed"]): entry["failed"] for entry in entries if "failed" in entry},
        **{figure: _over_seeds({e["seed"]: _figure(e, figure) for e in finished}) for figure in _FIGURES},
        "minutes": _over_seeds({e["seed"]: _plain(e["minutes"]) for e in finished}),
        "sampled": {str(e["seed"]): e["sampled"] for e in finished},
        "rounds": {str(e["seed"]): e["rounds"] for e in finished},
        "alarms": {str(e["seed"]): e["alarms"] for e in finished if e["alarms"]},
        "warnings": {str(e["seed"]): e["against_m1"]["warnings"] for e in finished if e["against_m1"]["warnings"]},
    }


def _m1_row(finished: Sequence[Entry]) -> dict[str, Any] | None:
    """The model that all contenders start from, once for each seed."""
    by_seed = {entry["seed"]: entry["models"]["M1"] for entry in finished if entry["contender"] != BLIND}
    if not by_seed:
        return None
    figures = {
        name: _over_seeds({seed: model[name] for seed, model in by_seed.items()})
        for name in ("solve_rate", "solve_rate_greedy", "judge_accuracy", "mean_length")
    }
    return {"method": "M1", "seeds": sorted(by_seed), "failed": {}, **figures}


def _figure(entry: Entry, name: str) -> dict[str, Any] | None:
    of_model: dict[str, dict[str, Any] | None] = entry["models"][entry["model"]]
    of_run = {name: entry[name] for name in ("gain", "pair_yield")}
    figures: dict[str, dict[str, Any] | None] = {**entry["against_m1"]["figures"], **of_run, **of_model}
    return figures[name]


def _plain(value: float | None) -> dict[str, Any] | None:
    return None if value is None else {"value": value, "low": None, "high": None, "n": 1}


def _over_seeds(by_seed: dict[int, dict[str, Any] | None]) -> dict[str, Any] | None:
    measured = {str(seed): figure for seed, figure in sorted(by_seed.items()) if figure and figure["value"] is not None}
    if not measured:
        return None
    values = [figure["value"] for figure in measured.values()]
    return {"mean": sum(values) / len(values), "lowest": min(values), "highest": max(values), "by_seed": measured}


def _claims(by_seed: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    texts = dict.fromkeys(text for claims in by_seed.values() for text in claims)
    body = [[text, *(_claim(claims.get(text)) for claims in by_seed.values())] for text in texts]
    return _lines(["claim", *(f"seed {seed}" for seed in by_seed)], body, align="---")


def _claim(claim: dict[str, Any] | None) -> str:
    return f"{'holds' if claim['holds'] else 'FAILS'}: {claim['measured']}" if claim else DASH


def _seeds(row: dict[str, Any]) -> str:
    failed = f", {len(row['failed'])} failed" if row["failed"] else ""
    return f"{len(row['seeds'])}{failed}"


def _cell(row: dict[str, Any], name: str, _: str, scale: float) -> str:
    figure = row.get(name)
    if figure is None:
        return DASH
    mean, lowest, highest = (f"{figure[key] * scale:.1f}" for key in ("mean", "lowest", "highest"))
    return f"{mean} [{lowest}, {highest}]" if len(figure["by_seed"]) > 1 else mean


def _seed_cell(row: dict[str, Any], seed: int, name: str, _: str, scale: float) -> str:
    figure = ((row.get(name) or {}).get("by_seed", {})).get(str(seed))
    if figure is None:
        return DASH
    value = f"{figure['value'] * scale:.1f}"
    return value if figure["low"] is None else f"{value} [{figure['low'] * scale:.1f}, {figure['high'] * scale:.1f}]"


def _lines(head: Sequence[str], body: Sequence[Sequence[str]], align: str = "---:") -> list[str]:
    rule = ["---", *[align] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)]
