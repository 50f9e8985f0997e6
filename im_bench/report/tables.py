"""Tables as values: pure functions of the ledger's rows and of what paired tests say of their items.

Table 1 of the paper has a row for each cell, the base model first and then each dataset under its losses; any other
table is the same numbers in other rows and columns. Differences are to the baseline loss, all else being equal. A
benchmark counts as asked when any cell of the sweep has a row of it: then a cell without it shows n/a. A benchmark
that nobody was asked is left out for everybody, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from im_bench.analysis.measures import ANALYSIS
from im_bench.analysis.seeds import Pooled
from im_bench.config import Report, UserError
from im_bench.report import measures
from im_bench.report.captions import caption, left_out, of_the_paper, tested_how
from im_bench.report.cells import ANY, PAPER, Cell, cells_of
from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.comparisons import Found, Tested, Tests
from im_bench.report.labels import Labels, labels_of
from im_bench.report.measures import Family, Measure
from im_bench.report.readings import JUDGED, MISSING, Entry
from im_bench.report.seeds import pooled
from im_bench.report.words import Column

ALPHA = 0.05
STAR = "*"
"""Of a difference with p < ALPHA."""


@dataclass(frozen=True)
class Difference:
    """To the baseline, in the unit of the column."""

    value: float | None
    stderr: float | None
    """Of the items in pairs where they were compared; else it takes the two scores as independent."""
    low: float | None = None
    high: float | None = None
    """The 95% interval; None where the items could not be compared."""
    p: float | None = None
    """Adjusted by Holm over its family; None where the items could not be compared."""
    whole: bool = True
    """Whether it is of all items, and seeds, that the two scores are of; else of those that both have."""

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < ALPHA


class Scored(NamedTuple):
    """A cell's entries, and their differences to the baseline: none of the base model and of the baseline itself."""

    cell: Cell
    entries: tuple[Entry, ...]
    differences: tuple[Difference | None, ...] | None


@dataclass(frozen=True)
class Line:
    """One row of a table; no entry where there is nothing that could have one."""

    entries: tuple[Entry | None, ...]
    differences: tuple[Difference | None, ...] | None


@dataclass(frozen=True)
class Table:
    """Columns, lines, what these are called, and what is to be said under them; `name` is the sweep's."""

    name: str
    baseline: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    labels: Labels
    caption: tuple[str, ...]
    scored: tuple[Scored, ...] = ()
    """What each line is about, in a table with a line for each cell."""


class Printed(NamedTuple):
    """A cell whose numbers the paper prints, by column."""

    cell: Cell
    entries: Mapping[str, Entry]


def category_table(
    rows: Sequence[Row],
    *,
    name: str,
    wanted: Report,
    tests: Tests | None = None,
    printed: Sequence[Printed] = (),
) -> Table:
    """Table 1: categories, their mean, the judged benchmarks, each with its difference to the baseline.

    Raises:
        UserError: when scores that cannot be compared meet in one column.
    """
    found = measures.by_category(rows, wanted.reading)
    return cell_table(rows, found, name=name, wanted=wanted, tests=tests, printed=printed)


def benchmark_table(rows: Sequence[Row], *, name: str, wanted: Report, tests: Tests | None = None) -> Table:
    """As `category_table`, with every benchmark's own score in a column, and no means."""
    found = measures.by_benchmark(rows, wanted.reading)
    return cell_table(rows, found, name=name, wanted=wanted, tests=tests)


def cell_table(
    rows: Sequence[Row],
    found: Sequence[Measure],
    *,
    name: str,
    wanted: Report,
    tests: Tests | None = None,
    printed: Sequence[Printed] = (),
    said: tuple[str, ...] = (),
) -> Table:
    """A row for each cell, a column for each measure; `said` begins the caption."""
    scored = scores(rows, found, wanted=wanted, tests=tests, printed=printed)
    return Table(
        name=name,
        baseline=wanted.baseline,
        columns=tuple(each.column for each in found),
        lines=tuple(Line(each.entries, each.differences) for each in scored),
        labels=labels_of([each.cell for each in scored]),
        caption=(*said, *said_of(rows, scored, found, wanted)),
        scored=tuple(scored),
    )


def scores(
    rows: Sequence[Row],
    found: Sequence[Measure],
    *,
    wanted: Report,
    tests: Tests | None,
    printed: Sequence[Printed] = (),
) -> list[Scored]:
    """The entries of every cell with their differences, in the order of the cells.

    Raises:
        UserError: when scores that cannot be compared meet in one column, or seeds are to be taken together and are
            not several.
    """
    if not wanted.mixed:
        check_comparable(rows)
    cells = cells_of(rows)
    ours = (
        pooled(cells, found)
        if wanted.seeds == "pooled"
        else [(cell, tuple(each.entry(own) for each in found)) for cell, own in cells]
    )
    theirs = [
        (each.cell, tuple(each.entries.get(measure.column.id, MISSING) for measure in found))
        for each in printed
    ]
    every = sorted([*ours, *theirs], key=lambda pair: pair[0].order)
    bases: dict[object, list[tuple[Entry, ...]]] = {}
    for cell, entries in every:
        if cell.loss == wanted.baseline:
            bases.setdefault((cell.group, cell.source), []).append(entries)
    return [
        Scored(cell, entries, _differences(cell, entries, bases, found, wanted, (tests or {}).get(cell, {})))
        for cell, entries in every
    ]


MEANS = "A category is the unweighted mean of its benchmarks, Mean that of the categories."
ONE_JUDGE = (
    "run the sweep again with one judge=NAME for all cells (answers are kept, only judging is repeated), or take them "
    "together all the same, report.mixed=true"
)
ONE_VERSION = "report.mixed=true takes them together all the same"


def check_comparable(rows: Sequence[Row]) -> None:
    """Refuse a column with scores by different judges, or of different versions of a task.

    Raises:
        UserError: naming the benchmark, and its judges or versions.
    """
    _check_analyses(rows)
    heads = [row for row in rows if row.benchmark == row.task and row.value is not None]
    for benchmark in dict.fromkeys(row.benchmark for row in heads):
        own = [row for row in heads if row.benchmark == benchmark]
        judges = sorted({row.judge or "no judge named" for row in own if row.category == JUDGED})
        if len(judges) > 1:
            taken = any(row.source for row in own)
            remedy = f"choose one, report.judge={judges[0]}" if taken else ONE_JUDGE
            raise UserError(
                f"{benchmark}: scores by different judges do not share a column: {', '.join(judges)}; {remedy}"
            )
        versions = sorted({row.version for row in own if row.version})
        if len(versions) > 1:
            raise UserError(
                f"{benchmark}: scores of different versions of its task do not share a column: "
                f"{'; '.join(_versions(own))}; {ONE_VERSION}"
            )


def _check_analyses(rows: Iterable[Row]) -> None:
    """Losses on two held-out sets, or two ways of counting BLEU, are two things."""
    notes: dict[str, set[str]] = {}
    for row in rows:
        if row.category == ANALYSIS and row.reading_note:
            notes.setdefault(measures.analysis_id(row), set()).add(row.reading_note)
    for name, found in notes.items():
        if len(found) > 1:
            raise UserError(
                f"{name}: two things do not share a column: {'; '.join(sorted(found))}; {ONE_VERSION}"
            )


def said_of(
    rows: Sequence[Row], scored: Sequence[Scored], found: Sequence[Measure], wanted: Report
) -> tuple[str, ...]:
    """The sentences under a table of these scores."""
    asked = measures.asked(rows) if any(each.parts for each in found) else _shown(rows, found)
    means = (MEANS, *left_out(asked)) if any(each.parts for each in found) else ()
    entries = [entry for each in scored for entry in each.entries]
    known = [difference for each in scored for difference in each.differences or () if difference]
    shared = {
        measure.column.heading
        for each in scored
        for measure, difference in zip(found, each.differences or (), strict=False)
        if difference and not difference.whole
    }
    ordered = [each.column.heading for each in found if each.column.heading in shared]
    return (
        *_models(scored),
        *means,
        *of_the_paper(_printed(scored, found), alone=not rows),
        *_seeds(rows, wanted),
        *_comparison(scored, wanted.baseline),
        *tested_how([each.p for each in known if each.value is not None], ordered, wanted),
        *caption(entries, asked, wanted.reading),
    )


def _shown(rows: Sequence[Row], found: Sequence[Measure]) -> Mapping[str, tuple[str, ...]]:
    ids = {each.column.id for each in found}
    return {
        category: shown
        for category, benchmarks in measures.asked(rows).items()
        if (shown := tuple(each for each in benchmarks if each in ids))
    }


def _versions(rows: Iterable[Row]) -> list[str]:
    """Each version with the cells that have it."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        if row.version:
            cells.setdefault(row.version, []).append(row.cell)
    return [
        f"{version} of cell {', '.join(sorted(set(names))[:3])}" for version, names in sorted(cells.items())
    ]


def _models(scored: Iterable[Scored]) -> list[str]:
    """The model; several have a column."""
    models = {each.cell.model for each in scored} - {""}
    return [f"Model: {model}." for model in models if len(models) == 1]


def _printed(scored: Sequence[Scored], found: Sequence[Measure]) -> set[str]:
    """The columns that have a number of the paper's."""
    return {
        measure.column.id
        for each in scored
        if each.cell.source == PAPER
        for measure, entry in zip(found, each.entries, strict=True)
        if entry.value is not None
    }


ENOUGH_SEEDS = 4
"""With fewer, more is found where nothing is than the tests' level says (docs/reports.md)."""


def _seeds(rows: Iterable[Row], wanted: Report) -> Iterator[str]:
    if wanted.seeds == "pooled":
        seeds = sorted({row.seed for row in rows if row.dataset is not None})
        yield (
            f"Means over seeds {', '.join(map(str, seeds))}; items and seeds are both taken as drawn, each with a "
            "variance of its own."
        )
        if len(seeds) < ENOUGH_SEEDS:
            yield "So few seeds may be alike by chance: of 100 tests of no difference up to 10 find one, not 5."


def _comparison(scored: Sequence[Scored], baseline: str) -> Iterator[str]:
    """What the differences are to, and which datasets have nothing to compare with."""
    bases = [(each.cell.group, each.cell.source) for each in scored if each.cell.loss == baseline]
    without = sorted(
        {
            each.cell.dataset or ""
            for each in scored
            if _is_compared(each.cell, baseline)
            and bases.count((each.cell.group, each.cell.source)) != 1
            and each.cell.source != PAPER
        }
    )
    if any(each and each.value is not None for line in scored for each in line.differences or ()):
        yield f"Differences are to loss {baseline} on the same dataset."
    if without:
        yield f"No differences on {', '.join(without)}: that takes exactly one cell of loss {baseline}."


def _differences(
    cell: Cell,
    entries: Sequence[Entry],
    bases: Mapping[object, list[tuple[Entry, ...]]],
    found: Sequence[Measure],
    wanted: Report,
    tests: Mapping[tuple[Family, str], Tested],
) -> tuple[Difference | None, ...] | None:
    """Within each group; unknown where the group has not exactly one baseline, none where no group has one."""
    if not bases or not _is_compared(cell, wanted.baseline):
        return None
    base = bases.get((cell.group, cell.source), [])
    if len(base) != 1:
        return tuple(Difference(None, None) for _ in entries)
    known = [tests.get((each.family, each.column.id)) for each in found]
    return tuple(
        _difference(entry, to, test) for entry, to, test in zip(entries, base[0], known, strict=True)
    )


def _is_compared(cell: Cell, baseline: str) -> bool:
    return cell.dataset not in (None, UNKNOWN) and cell.loss not in (baseline, ANY)


def _difference(entry: Entry, base: Entry, test: Tested | None) -> Difference:
    if entry.value is None or base.value is None:
        return Difference(None, None)
    if test is not None:
        found = test.found
        whole = _items(entry, found) <= found.items >= _items(base, found)
        value = entry.value - base.value if whole else found.difference
        return Difference(value, found.stderr, found.low, found.high, test.p, whole)
    known = entry.stderr is not None and base.stderr is not None
    stderr = sqrt((entry.stderr or 0.0) ** 2 + (base.stderr or 0.0) ** 2) if known else None
    return Difference(entry.value - base.value, stderr)


def _items(entry: Entry, found: Found) -> float:
    """How many items a score is of: in one seed, where several are taken together."""
    return entry.count / (found.seeds if isinstance(found, Pooled) else 1)
