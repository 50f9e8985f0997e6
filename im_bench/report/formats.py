"""A table as text: Markdown, LaTeX, CSV, terminal. Equal tables give equal bytes."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from im_bench.drafts import drafted
from im_bench.report.captions import PARTIAL_MARK
from im_bench.report.readings import Entry
from im_bench.report.tables import Difference, Line, Table

MISSING = "n/a"
CSV_HEADER = (
    *("sweep", "cell", "model", "dataset", "subset", "seed", "epoch", "loss", "column"),
    *("value", "difference", "stderr", "difference_stderr", "count", "total"),
)
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
}


class Labels(NamedTuple):
    """The leading columns: only what tells this table's rows apart.

    `groups` has a line's dataset, and model, subset and seed where they differ; `names` its loss within them.
    """

    group_headings: tuple[str, ...]
    name_headings: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def headings(self) -> tuple[str, ...]:
        return self.group_headings + self.name_headings

    @property
    def starts(self) -> list[bool]:
        """Whether the line begins a new group."""
        return [number == 0 or self.groups[number - 1] != group for number, group in enumerate(self.groups)]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """Group and name of each line, without repeating the group."""
        blank = ("",) * len(self.group_headings)
        groups = [group if start else blank for group, start in zip(self.groups, self.starts, strict=True)]
        return [group + name for group, name in zip(groups, self.names, strict=True)]


def to_markdown(table: Table) -> str:
    """A pipe table with its caption as a list."""
    labels = labelled(table)
    headings = [*labels.headings, *(column.heading for column in table.columns)]
    rule = ["---"] * len(labels.headings) + ["---:"] * len(table.columns)
    body = [
        [*(_plain(text) for text in own), *_together(line)]
        for own, line in zip(labels.lines, table.lines, strict=True)
    ]
    grid = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [[_plain(text) for text in headings], rule, *body]
    )
    said = "\n".join(f"- {_plain(sentence)}" for sentence in table.caption)
    return f"{grid}\n\n{said}\n"


def to_latex(table: Table) -> str:
    """A `table*` float; the document needs the package booktabs and nothing else."""
    labels = labelled(table)
    headings = [*labels.headings, *(column.short for column in table.columns)]
    layout = "l" * len(labels.headings) + "r" * len(table.columns)
    rows = [f"{' & '.join(_latex(text) for text in headings)} \\\\", r"\midrule"]
    for start, own, line in zip(labels.starts, labels.lines, table.lines, strict=True):
        rows += [r"\midrule"] if start and line is not table.lines[0] else []
        rows += _latex_rows([_latex(text) for text in own], line)
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
    """Long form: one line per cell and column. Empty is missing; numbers as in the table, to six places."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for line in table.lines:
        differences = line.differences or (Difference(None, None),) * len(line.entries)
        for column, entry, difference in zip(table.columns, line.entries, differences, strict=True):
            numbers = (entry.value, difference.value, entry.stderr, difference.stderr)
            cell = (line.cell.name, *line.cell.group, line.cell.loss)
            exact = ("" if number is None else f"{number:.6f}" for number in numbers)
            writer.writerow((table.name, *cell, column.id, *exact, entry.count, entry.total))
    return out.getvalue()


def to_terminal(table: Table) -> Text:
    """For a rich console: the differences stand below their scores, so that eighty columns are enough."""
    labels = labelled(table)
    names = [f" {' '.join(name)} " for name in labels.names]
    width = max(len(name) for name in names)
    text = Text(" " * width + "".join(_ranged(column.short) for column in table.columns) + "\n")
    for start, group, name, line in zip(labels.starts, labels.groups, names, table.lines, strict=True):
        if start:
            text.append(f"{', '.join(filter(None, group))}\n", style="bold")
        text.append(f"{name:<{width}}{''.join(_ranged(_number(entry)) for entry in line.entries)}\n")
        if line.differences is not None:
            text.append(" " * width)
            for difference in line.differences:
                text.append(_ranged(_signed(difference)), style=_colour(difference))
            text.append("\n")
    said = "\n".join((*_abbreviations(table), *table.caption))
    return text.append(f"\n{said}", style="dim")


def write_table(
    folder: Path, name: str, table: Table, *, formats: tuple[str, ...] = ("md", "tex", "csv")
) -> None:
    """Write `<name>.<format>` into `folder`, each by rename."""
    render = {"md": to_markdown, "tex": to_latex, "csv": to_csv}
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in formats:
        with drafted(folder / f"{name}.{suffix}") as draft:
            draft.write_bytes(render[suffix](table).encode())


def labelled(table: Table) -> Labels:
    """What the rows of a table are called."""
    cells = [line.cell for line in table.lines]
    trained = [cell for cell in cells if cell.dataset is not None]
    group = {
        "Model": [cell.model for cell in cells] if len({cell.model for cell in cells}) > 1 else None,
        "Dataset": [cell.dataset or "(base model)" for cell in cells],
        "Subset": [cell.subset or "" for cell in cells]
        if len({cell.subset for cell in trained}) > 1
        else None,
        "Seed": [str(cell.seed) for cell in cells] if len({cell.seed for cell in cells}) > 1 else None,
        "Epoch": [str(cell.epoch or "") for cell in cells]
        if len({cell.epoch for cell in trained}) > 1
        else None,
    }
    alike = len({(cell.group, cell.loss) for cell in cells}) < len(cells)
    name = {"Loss": [cell.loss for cell in cells], "Cell": [cell.name for cell in cells] if alike else None}
    group_words = {heading: words for heading, words in group.items() if words is not None}
    name_words = {heading: words for heading, words in name.items() if words is not None}
    groups, names = zip(*group_words.values(), strict=True), zip(*name_words.values(), strict=True)
    return Labels(tuple(group_words), tuple(name_words), tuple(groups), tuple(names))


def _number(entry: Entry) -> str:
    if entry.value is None:
        return MISSING
    return f"{entry.value:.2f}{PARTIAL_MARK if entry.partial else ''}"


def _signed(difference: Difference) -> str:
    if difference.value is None:
        return MISSING
    # A difference of -0.001 is shown as no difference, not as a negative one.
    return f"{round(difference.value, 2) + 0.0:+.2f}"


def _together(line: Line) -> list[str]:
    if line.differences is None:
        return [_number(entry) for entry in line.entries]
    pairs = zip(line.entries, line.differences, strict=True)
    return [f"{_number(entry)} ({_signed(difference)})" for entry, difference in pairs]


def _latex_rows(labels: list[str], line: Line) -> list[str]:
    """The scores, and below them the differences: side by side they are wider than a page."""
    # The mark hangs over to the right, so that the digits stay aligned.
    hanging = [_number(entry).replace(PARTIAL_MARK, r"\rlap{$^\dagger$}") for entry in line.entries]
    scores = " & ".join([*labels, *hanging])
    if line.differences is None:
        return [rf"{scores} \\"]
    signed = [_signed(difference).replace("+", "$+$").replace("-", "$-$") for difference in line.differences]
    return [
        rf"{scores} \\[-3pt]",
        " & ".join([*("" for _ in labels), *(rf"{{\tiny {sign}}}" for sign in signed)]) + r" \\",
    ]


def _ranged(text: str) -> str:
    """Seven columns, of which the last is for the mark, so that the digits stay aligned."""
    digits = text.removesuffix(PARTIAL_MARK)
    return f"{digits:>6}{text[len(digits) :]:1}"


def _colour(difference: Difference) -> str:
    shown = _signed(difference)
    if difference.value is None or float(shown) == 0:
        return "dim"
    return "green" if float(shown) > 0 else "red"


def _abbreviations(table: Table) -> list[str]:
    pairs = [
        f"{column.short} = {column.heading}" for column in table.columns if column.short != column.heading
    ]
    return [f"Columns: {', '.join(pairs)}."] if pairs else []


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in text)
