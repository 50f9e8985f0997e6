"""What must be said under a table so that its numbers are not misread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from im_bench.report.collect import Row
from im_bench.report.readings import WMT, Entry, Reading
from im_bench.report.words import BENCHMARKS, benchmark_column, listed

PARTIAL_MARK = "\u2020"
"""A dagger: the number rests on fewer outcomes than items."""


def caption(
    entries: Iterable[Entry], asked: Mapping[str, Sequence[str]], reading: Reading
) -> tuple[str, ...]:
    """Sentences on unit, reading, judges, counts and gaps, each only where it applies."""
    shown = list(entries)
    used = sorted({row for entry in shown for row in entry.rows}, key=lambda row: row.place)
    benchmarks = {benchmark for group in asked.values() for benchmark in group}
    return (
        *_units(benchmarks),
        *_reading(benchmarks, used, reading),
        *_judges(used),
        *_bill(used),
        *_notes(used),
        *_items(used),
        *_partial(row for entry in shown if entry.partial for row in entry.rows),
        *_truncated(used),
        *_gaps(shown),
    )


def left_out(asked: Mapping[str, Sequence[str]]) -> list[str]:
    """Which benchmarks are in no mean, as nobody was asked them; or which were asked, where those are fewer."""
    benchmarks = {benchmark for group in asked.values() for benchmark in group}
    paper = {column.id for column in BENCHMARKS}
    if paper <= benchmarks:
        return []
    if len(paper - benchmarks) > len(paper & benchmarks):
        return [f"Asked of the {len(paper)} benchmarks: {listed(benchmarks & paper) or 'none'}."]
    return [f"Not asked, and in no mean: {listed(paper - benchmarks)}."]


def _units(benchmarks: set[str]) -> Iterator[str]:
    if benchmarks == {"mt_bench"}:
        yield "Scores are points from 1 to 10."
    elif benchmarks:
        points = ", those of MT-Bench points from 1 to 10" if "mt_bench" in benchmarks else ""
        yield f"Scores are in percent{points}."


def _reading(benchmarks: set[str], used: Iterable[Row], reading: Reading) -> list[str]:
    """How the benchmarks are read of which there are two readings."""
    facts = []
    wmt = listed(benchmarks & set(WMT))
    if wmt and reading == "corrected":
        facts.append(f"{wmt} as 100 - TER, at least 0")
    if wmt and reading == "published":
        facts.append(
            f"{wmt} as one score of their category, the mean TER of the translation tasks, counted as a gain"
        )
    if "humaneval" in benchmarks and reading == "published":
        facts.append("HumanEval as the better of its temperatures")
    if "humaneval" in benchmarks and reading == "corrected":
        metrics = sorted({row.metric for row in used if row.benchmark == "humaneval"})
        stated = " or ".join(metric.replace(",", " at ").replace("=", " ") for metric in metrics)
        facts.append(f"HumanEval as {stated or 'pass@1 at one temperature'}")
    start = (
        "Reading: corrected"
        if reading == "corrected"
        else "Reading: published, as the paper's code computes it"
    )
    return [f"{'; '.join([start, *facts])}."] if facts else []


def _judges(used: Iterable[Row]) -> list[str]:
    """Who judged what, unless the benchmark's own note says it."""
    judged: dict[str, set[str]] = {}
    for row in used:
        if row.judge is not None and f"judge: {row.judge}" not in (row.reading_note or ""):
            judged.setdefault(row.judge, set()).add(row.benchmark)
    return [f"Judged by {judge}: {listed(benchmarks)}." for judge, benchmarks in sorted(judged.items())]


def _bill(used: Iterable[Row]) -> list[str]:
    """What the verdicts of all cells took, as far as their judges said; a step that cells share counts once."""
    billed = list({row.step: row for row in used if row.judge_prompt_tokens is not None}.values())
    if not billed:
        return []
    tokens = [
        sum(getattr(row, field) or 0 for row in billed)
        for field in ("judge_prompt_tokens", "judge_answer_tokens")
    ]
    costs = [row.judge_cost for row in billed]
    known = [cost for cost in costs if cost is not None]
    dollars = f", {sum(known):.2f} USD" if known and len(known) == len(costs) else ""
    return [f"The judge read {tokens[0]:,} tokens and wrote {tokens[1]:,}{dollars}."]


def _notes(used: Iterable[Row]) -> list[str]:
    noted: dict[str, set[str]] = {}
    for row in used:
        if row.reading_note is not None:
            noted.setdefault(row.reading_note, set()).add(row.benchmark)
    return [f"{listed(benchmarks)}: {note.rstrip('.')}." for note, benchmarks in noted.items()]


def _items(used: Iterable[Row]) -> list[str]:
    """How many items a benchmark has; the largest over the cells where they differ."""
    per_cell: dict[tuple[str, str], int] = {}
    for row in used:
        per_cell[row.benchmark, row.cell] = per_cell.get((row.benchmark, row.cell), 0) + row.total
    totals: dict[str, int] = {}
    for (benchmark, _), total in per_cell.items():
        totals[benchmark] = max(total, totals.get(benchmark, 0))
    if not totals:
        return []
    start = f"Items per cell: {sum(totals.values())}"
    if len(totals) == 1:
        return [f"{start}."]
    if len(set(totals.values())) == 1:
        return [f"{start}; per benchmark {min(totals.values())}."]
    fewest, most = min(totals, key=lambda name: totals[name]), max(totals, key=lambda name: totals[name])
    ends = [f"{totals[name]} ({benchmark_column(name).heading})" for name in (fewest, most)]
    return [f"{start}; per benchmark {' to '.join(ends)}."]


def _partial(used: Iterable[Row]) -> list[str]:
    worst: dict[str, Row] = {}
    for row in used:
        if row.value is None or row.count >= row.total:
            continue
        known = worst.get(row.benchmark)
        if known is None or row.count * known.total < known.count * row.total:
            worst[row.benchmark] = row
    facts = [
        f"{benchmark_column(name).heading} {row.count} of {row.total}" for name, row in sorted(worst.items())
    ]
    start = f"{PARTIAL_MARK} some items have no outcome and no part in the score; at the fewest"
    return [f"{start} {', '.join(facts)}."] if facts else []


def _truncated(used: Iterable[Row]) -> list[str]:
    worst: dict[str, Row] = {}
    for row in used:
        if row.truncated > (worst[row.benchmark].truncated if row.benchmark in worst else 0):
            worst[row.benchmark] = row
    facts = [
        f"{benchmark_column(name).heading} {row.truncated} of {row.total}"
        for name, row in sorted(worst.items())
    ]
    start = "Prompts longer than the model's context lost their beginning; at the most in"
    return [f"{start} {', '.join(facts)}."] if facts else []


def _gaps(shown: Iterable[Entry]) -> list[str]:
    if all(entry.value is not None for entry in shown):
        return []
    return ["n/a: a score is missing, and what is made of it."]
