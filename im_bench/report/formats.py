"""A table as text: Markdown, LaTeX, CSV, terminal. Equal tables give equal bytes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TypeVar

from rich.text import Text

from im_bench.drafts import drafted
from im_bench.report.captions import PARTIAL_MARK, SUSPECT_MARK
from im_bench.report.comparisons import Compared
from im_bench.report.readings import Entry
from im_bench.report.tables import STAR, Difference, Line, Table
from im_bench.report.words import Column

MISSING = "n/a"
UP, DOWN = "\u2191", "\u2193"
MARKS = f"{PARTIAL_MARK}{SUSPECT_MARK}{STAR}"
COMPARED = (
    *("difference", "low", "high", "stderr", "item_stderr", "seed_stderr", "p", "test"),
    *("items", "units", "clustered", "seeds", "detectable"),
)
COMPARISONS_HEADER = (
    *("model", "dataset", "subset", "seed", "epoch", "loss", "baseline", "family", "column", *COMPARED),
    *("p_holm", "note"),
)
OF_CELLS = ("cell", "model", "dataset", "subset", "seed", "epoch", "loss")
NUMBERS = ("value", "difference", "stderr", "difference_stderr", "low", "high", "p", "count", "total")
NONE = Difference(None, None)
_LATEX = {mark: f"\\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A row that begins with a bracket would be read as an option of the line break above it.
    "[": "{[}",
    "]": "{]}",
    PARTIAL_MARK: r"$^\dagger$",
    SUSPECT_MARK: r"$^\ddagger$",
    UP: r"$\uparrow$",
    DOWN: r"$\downarrow$",
    STAR: r"$^*$",
}


def to_markdown(table: Table) -> str:
    """A pipe table with its caption as a list."""
    labels = table.labels
    headings = [*labels.headings, *(column.heading for column in table.columns)]
    rule = ["---"] * len(labels.headings) + ["---:"] * len(table.columns)
    body = [
        [*(_plain(text) for text in own), *_together(table, line)]
        for own, line in zip(labels.lines, table.lines, strict=True)
    ]
    grid = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [[_plain(text) for text in headings], rule, *body]
    )
    # A sentence that begins with a star would be read as emphasis or as another list.
    said = "\n".join(f"- {_plain(sentence).replace('*', chr(92) + '*')}" for sentence in table.caption)
    return f"{grid}\n\n{said}\n"


def to_latex(table: Table) -> str:
    """A `table*` float; the document needs the package booktabs and nothing else."""
    labels = table.labels
    headings = [*labels.headings, *(column.short for column in table.columns)]
    layout = "l" * len(labels.headings) + "r" * len(table.columns)
    rows = [f"{' & '.join(_latex(text) for text in headings)} \\\\", r"\midrule"]
    for start, own, line in zip(labels.starts, labels.lines, table.lines, strict=True):
        rows += [r"\midrule"] if start and line is not table.lines[0] else []
        rows += _latex_rows([_latex(text) for text in own], table, line)
    said = " ".join(_latex(sentence) for sentence in (*_abbreviations(table), *table.caption))
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{said}}}",
            rf"\label{{tab:{''.join(mark if mark.isalnum() else '-' for mark in table.name)}}}",
            r"\end{table*}",
            "",
        ]
    )


def to_csv(table: Table) -> str:
    """Long form: one line per number. Empty is missing; numbers as in the table, to six places.

    A table of cells says all that tells a cell from the others; any other table what its rows are called.
    """
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header(table))
    for record in records(table):
        writer.writerow(_written(name, value) for name, value in zip(header(table), record, strict=True))
    return out.getvalue()


def _written(name: str, value: object) -> object:
    """A p-value may be very small."""
    if not isinstance(value, float):
        return value
    return f"{value:.6g}" if name == "p" else f"{value:.6f}"


def header(table: Table) -> tuple[str, ...]:
    """What each number of a table comes with."""
    named = OF_CELLS if table.scored else tuple(heading.lower() for heading in table.labels.headings)
    return ("sweep", *named, "column", *NUMBERS)


def records(table: Table) -> Iterator[tuple[object, ...]]:
    """Every number of a table with what `header` says; None is missing."""
    for line, called in zip(table.lines, _called(table), strict=True):
        for column, entry, difference in zip(table.columns, line.entries, _each(line), strict=True):
            if entry is not None:
                to = difference or NONE
                numbers = (entry.value, to.value, entry.stderr, to.stderr, to.low, to.high, to.p)
                yield (table.name, *called, column.id, *numbers, entry.count, entry.total)


def _called(table: Table) -> list[tuple[object, ...]]:
    """What a csv says of each line."""
    if table.scored:
        return [(each.cell.name, *each.cell.group, each.cell.loss) for each in table.scored]
    return [(*group, *name) for group, name in zip(table.labels.groups, table.labels.names, strict=True)]


def to_terminal(table: Table, width: int = 80) -> Text:
    """For a rich console: differences stand below their scores, and columns beyond the width below the others."""
    names = [f" {' '.join(filter(None, name))} " for name in table.labels.names]
    margin = max((len(name) for name in names), default=0)
    text = Text()
    for number, block in enumerate(_blocks(_widths(table, width - margin), width - margin)):
        text.append("\n" if number else "")
        heads = [_ranged(column.short, size) for column, size in _of(block, table.columns)]
        text.append(f"{' ' * margin}{''.join(heads)}\n")
        labels = zip(table.labels.starts, table.labels.groups, names, table.lines, strict=True)
        for start, group, name, line in labels:
            if start and any(group):
                text.append(f"{_headed(table, group)}\n", style="bold")
            _append(text, f"{name:<{margin}}", table, line, block)
    said = "\n".join((*_abbreviations(table), *table.caption))
    return text.append(f"\n{said}", style="dim")


def _headed(table: Table, group: Sequence[str]) -> str:
    """What a group is called; a number says what it is of."""
    named = zip(table.labels.group_headings, group, strict=True)
    return ", ".join(
        f"{heading.lower()} {word}" if word.isdigit() else word for heading, word in named if word
    )


Block = list[tuple[int, int]]
"""Columns by their place, each with its width."""
T = TypeVar("T")


def _blocks(widths: Sequence[int], room: int) -> list[Block]:
    """The columns in as many lines as they need."""
    blocks: list[Block] = [[]]
    for place, size in enumerate(widths):
        if blocks[-1] and sum(known for _, known in blocks[-1]) + size > room:
            blocks.append([])
        blocks[-1].append((place, size))
    return blocks


def _of(block: Block, values: Sequence[T]) -> list[tuple[T, int]]:
    return [(values[place], size) for place, size in block]


def _append(text: Text, name: str, table: Table, line: Line, block: Block) -> None:
    numbers = _of(block, _numbers(table, line))
    text.append(f"{name}{''.join(_ranged(number, size) for number, size in numbers)}\n")
    if line.differences is not None:
        text.append(" " * len(name))
        pairs = list(zip(table.columns, line.differences, strict=True))
        for (column, difference), size in _of(block, pairs):
            text.append(_ranged(_signed(difference, column), size), style=_colour(difference, column))
        text.append("\n")


def write_table(folder: Path, name: str, table: Table) -> None:
    """Write `<name>.md`, `.tex` and `.csv` into `folder`, each by rename."""
    for suffix, text in (("md", to_markdown(table)), ("tex", to_latex(table)), ("csv", to_csv(table))):
        _write(folder / f"{name}.{suffix}", text)


def write_comparisons(folder: Path, name: str, found: Sequence[Compared]) -> None:
    """Write every difference with its interval and test into `<name>.csv`; none where nothing is compared."""
    if found:
        _write(folder / f"{name}.csv", comparisons_csv(found))


def comparisons_csv(found: Sequence[Compared]) -> str:
    """One line per cell and column; `detectable` is the smallest difference that such items would show."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COMPARISONS_HEADER)
    for each in found:
        known = [getattr(each.found, name, None) for name in COMPARED]
        said = (f"{number:.6g}" if isinstance(number, float) else number for number in known)
        holm = "" if each.p is None else f"{each.p:.6g}"
        called = (*each.cell.group, each.cell.loss, each.baseline, each.family, each.column.id)
        writer.writerow((*called, *said, holm, each.note))
    return out.getvalue()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with drafted(path) as draft:
        draft.write_bytes(text.encode())


def _numbers(table: Table, line: Line) -> list[str]:
    return [_number(entry, column) for entry, column in zip(line.entries, table.columns, strict=True)]


def _number(entry: Entry | None, column: Column) -> str:
    if entry is None:
        return ""
    if entry.value is None:
        return MISSING
    mark = SUSPECT_MARK if entry.suspect else PARTIAL_MARK if entry.partial else ""
    return f"{entry.value:.{column.digits}f}{mark}"


def _signed(difference: Difference | None, column: Column) -> str:
    """Its direction, its size, and a star where it is significant; one that rounds to nothing has none of these."""
    if difference is None:
        return ""
    if difference.value is None:
        return MISSING
    size = f"{abs(difference.value):.{column.digits}f}"
    if float(size) == 0:
        return size
    return f"{UP if difference.value > 0 else DOWN}{size}{STAR if difference.significant else ''}"


def _each(line: Line) -> tuple[Difference | None, ...]:
    return line.differences or (None,) * len(line.entries)


def _together(table: Table, line: Line) -> list[str]:
    signed = [_signed(to, column) for to, column in zip(_each(line), table.columns, strict=True)]
    pairs = zip(_numbers(table, line), signed, strict=True)
    return [f"{number} ({sign})" if sign else number for number, sign in pairs]


def _latex_rows(labels: list[str], table: Table, line: Line) -> list[str]:
    """The scores, and below them the differences: side by side they are wider than a page."""
    scores = " & ".join([*labels, *map(_hanging, _numbers(table, line))])
    if line.differences is None:
        return [rf"{scores} \\"]
    signed = [
        _hanging(_signed(to, column)) for to, column in zip(line.differences, table.columns, strict=True)
    ]
    below = [rf"{{\tiny {sign}}}" if sign else "" for sign in signed]
    return [rf"{scores} \\[-3pt]", " & ".join([*("" for _ in labels), *below]) + r" \\"]


def _hanging(number: str) -> str:
    """In LaTeX; a mark hangs over to the right, so that the digits stay aligned."""
    digits = number.rstrip(MARKS)
    mark = _latex(number[len(digits) :])
    return _latex(digits) + (rf"\rlap{{{mark}}}" if mark else "")


def _widths(table: Table, room: int) -> list[int]:
    """Of each column on a terminal: seven where that is enough; as a mark needs to stand apart, where there is room."""
    narrow = [max(7, len(column.short) + 1, 5 + column.digits) for column in table.columns]
    lines = [
        [_signed(to, column) for to, column in zip(_each(line), table.columns, strict=True)]
        for line in table.lines
    ]
    wide = [
        max([size, *(len(text.rstrip(MARKS)) + 2 for text in texts)])
        for size, *texts in zip(narrow, *lines, strict=True)
    ]
    return wide if sum(wide) <= room else narrow


def _ranged(text: str, width: int) -> str:
    """The last column is for the mark, so that the digits stay aligned."""
    digits = text.rstrip(MARKS)
    return f"{digits:>{width - 1}}{text[len(digits) :]:1}"


def _colour(difference: Difference | None, column: Column) -> str:
    shown = _signed(difference, column)
    if shown[:1] not in (UP, DOWN) or column.better == "neither":
        return "dim"
    return "green" if (shown[0] == UP) == (column.better == "higher") else "red"


def _abbreviations(table: Table) -> list[str]:
    pairs = [
        f"{column.short} = {column.heading}" for column in table.columns if column.short != column.heading
    ]
    return [f"Columns: {', '.join(pairs)}."] if pairs else []


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in text)
