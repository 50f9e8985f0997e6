"""The scores of a card, each once, with what must be said of them."""

from __future__ import annotations

from collections.abc import Sequence

from im_bench.analysis.measures import ANALYSIS
from im_bench.report.cards.known import Scored
from im_bench.report.cards.markdown import table
from im_bench.report.collect import Row
from im_bench.report.measures import analysis_id
from im_bench.report.readings import to_percent
from im_bench.report.words import ANALYSES, benchmark_column, in_order


def distinct(scored: Sequence[Scored]) -> list[Scored]:
    """The numbers that a card shows, each once, in the paper's order."""
    once: dict[tuple[str, str, str], Scored] = {}
    for each in sorted(scored, key=lambda each: each.row.place):
        row = each.row
        shown = row.task in (row.benchmark, f"{row.benchmark}_length_controlled")
        if shown or (row.category == ANALYSIS and row.value is not None):
            once.setdefault((row.step, row.task, row.metric), each)
    rank = {
        name: number for number, name in enumerate(in_order(each.row.benchmark for each in once.values()))
    }

    def order(each: Scored) -> tuple[object, ...]:
        row = each.row
        return (
            rank[row.benchmark],
            row.task,
            row.metric,
            row.judge or "",
            each.asked,
            each.data or "",
            row.step,
        )

    return sorted(once.values(), key=order)


def section(scored: Sequence[Scored]) -> list[str]:
    """Tables of benchmarks and of analyses, each with its notes."""
    benchmarks = [each for each in scored if each.row.category != ANALYSIS]
    analyses = [each.row for each in scored if each.row.category == ANALYSIS]
    text = [_score_table(benchmarks), *_notes(benchmarks)] if benchmarks else ["Not scored yet."]
    return [*text, *_analyses(analyses)] if analyses else text


def _analyses(rows: Sequence[Row]) -> list[str]:
    headings = {column.id: column.heading for column in ANALYSES}
    lines = [
        (
            headings.get(analysis_id(row), analysis_id(row)),
            f"{row.value:.4f}",
            _error(row.stderr, 4),
            f"{row.count:,}",
        )
        for row in rows
    ]
    return [
        "Losses and KL are in nats, BLEU is from 0 to 100, shares are from 0 to 1.",
        table(("analysis", "value", "standard error", "conversations"), lines),
        *sorted({f"- {row.benchmark}: {row.reading_note}." for row in rows if row.reading_note}),
    ]


def _score_table(scored: Sequence[Scored]) -> str:
    judged = any(each.row.judge for each in scored)
    rows = []
    for each in scored:
        row = each.row
        value, stderr, unit = in_unit(row)
        measure = ", ".join(
            filter(None, (measure_of(row), unit, "lower is better" * (row.direction == "lower")))
        )
        score = "n/a" if value is None else f"{value:.2f}"
        items = f"{row.count:,}" if row.count == row.total else f"{row.count:,} of {row.total:,}"
        line = [heading_of(each), measure, score, _error(stderr, 2), items, each.asked]
        rows.append((*line, row.judge or "") if judged else tuple(line))
    heading = ["benchmark", "metric", "score", "standard error", "items", "asked"]
    return table([*heading, "judge"] if judged else heading, rows)


def _notes(scored: Sequence[Scored]) -> list[str]:
    """What must be said of the numbers, as a list."""
    notes = [f"- {heading_of(each)}: {each.row.reading_note}." for each in scored if each.row.reading_note]
    notes += [
        f"- {heading_of(each)}: {each.row.truncated} prompts were longer than the model's context, and lost their "
        "beginning."
        for each in scored
        if each.row.truncated
    ]
    if any(each.data for each in scored):
        notes.append(
            "- Local data: the benchmark's data were read from a folder with the sha256 that begins so, which may hold "
            "other items than the published benchmark; compare such scores only with others on the same data."
        )
    return ["\n".join(dict.fromkeys(notes))] if notes else []


def heading_of(each: Scored) -> str:
    heading = benchmark_column(each.row.benchmark).heading
    return heading if each.data is None else f"{heading} (local data {each.data})"


def measure_of(row: Row) -> str:
    """The metric with its filter or temperature, as people read it."""
    name, _, rest = row.metric.partition(",")
    return name if rest in ("", "none") else f"{name} ({rest})"


def in_unit(row: Row) -> tuple[float | None, float | None, str]:
    """Value and error as people read them, and their unit: percent, or points from 1 to 10 for MT-Bench."""
    value, stderr = (
        None if number is None else round(number * to_percent(row), 4) for number in (row.value, row.stderr)
    )
    return value, stderr, "points" if row.benchmark == "mt_bench" else "percent"


def _error(stderr: float | None, places: int) -> str:
    return "" if stderr is None else f"{stderr:.{places}f}"
