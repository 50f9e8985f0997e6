import csv
import re
from dataclasses import replace
from io import StringIO

import pytest
from by_hand import base, row, table_of
from rich.console import Console

from im_bench.config import Report
from im_bench.report.formats import header, to_csv, to_latex, to_markdown, to_terminal, write_table
from im_bench.report.measures import by_category, of_analyses
from im_bench.report.tables import Difference, cell_table

NOTE = "judge: overlap (offline)"


@pytest.fixture
def table():
    return table_of(
        [
            base("mmlu", 0.25, stderr=0.03),
            base("mt_bench", 1.5, metric="score", reading_note=NOTE),
            row("mmlu", 0.50, stderr=0.03),
            row("mt_bench", 4.0, metric="score", count=9, reading_note=NOTE),
            row("mmlu", 0.4567, stderr=0.04, loss="im"),
            row("mmlu", 0.3, loss="it", dataset="a&b_c"),
        ]
    )


MARKDOWN = """\
| Dataset | Loss | Understanding & Knowledge | Mean | MT-Bench |
| --- | --- | ---: | ---: | ---: |
| (base model) | none | 25.00 | 25.00 | 1.50 |
| a&b_c | it | 30.00 | 30.00 | n/a |
| lima | it | 50.00 | 50.00 | 4.00\u2020 |
|  | im | 45.67 (\u21934.33) | 45.67 (\u21934.33) | n/a (n/a) |

- Model: toy.
- A category is the unweighted mean of its benchmarks, Mean that of the categories.
- Asked of the 21 benchmarks: MMLU, MT-Bench.
- Differences are to loss it on the same dataset.
- No difference is tested, as the items of these scores are not at hand.
- Scores are in percent, those of MT-Bench points from 1 to 10.
- MT-Bench: judge: overlap (offline).
- Items per cell: 20; per benchmark 10.
- \u2020 some items have no outcome and no part in the score; at the fewest MT-Bench 9 of 10.
- n/a: a score is missing, and what is made of it.
"""


def test_markdown_as_a_person_reads_it(table):
    assert to_markdown(table) == MARKDOWN


def test_csv_has_a_line_for_each_cell_and_column(table):
    lines = list(csv.DictReader(StringIO(to_csv(table))))
    assert tuple(lines[0]) == header(table)
    assert len(lines) == 4 * 3
    (im,) = [line for line in lines if line["loss"] == "im" and line["column"] == "knowledge"]
    assert (im["value"], im["difference"], im["stderr"], im["difference_stderr"]) == (
        *("45.670000", "-4.330000", "4.000000", "5.000000"),
    )
    assert (im["sweep"], im["dataset"], im["count"], im["total"]) == ("small", "lima", "10", "10")


def test_csv_leaves_the_missing_empty(table):
    lines = list(csv.DictReader(StringIO(to_csv(table))))
    (gap,) = [line for line in lines if line["loss"] == "im" and line["column"] == "mt_bench"]
    assert (gap["value"], gap["difference"], gap["stderr"], gap["count"]) == ("", "", "", "0")


def test_latex_is_balanced_ascii_with_rows_of_one_width(table):
    text = to_latex(table)
    assert text.isascii()
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(.*?)\}", text) == re.findall(r"\\end\{(.*?)\}", text)[::-1]
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if "&" in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {4}
    assert all(re.search(r"\\\\(\[-3pt\])?$", line) for line in rows)


def test_latex_escapes_what_it_would_read_as_its_own():
    text = to_latex(table_of([row("mmlu", 0.3, dataset=r"a_b&c%d#e$f{g}~h^i\j[k]")]))
    escaped = r"a\_b\&c\%d\#e\$f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j{[}k{]} & it"
    assert escaped in text


def test_a_pipe_in_a_name_does_not_end_a_markdown_cell():
    assert r"| a\|b | it |" in to_markdown(table_of([row("mmlu", 0.3, dataset="a|b")]))


def test_eighty_columns_of_terminal_hold_all_ten_columns():
    names = ["mmlu", "lambada_multilingual", "winogrande", "gsm8k", "bbh", "ethics"]
    judged = ["mt_bench", "alpaca_eval_1", "alpaca_eval_2"]
    rows = [
        row(name, value, loss=loss, dataset="short_instructions_long_outputs", count=count)
        for loss, value, count in (("it", 0.125, 10), ("neftune", 0.99, 9))
        for name in names + judged
    ]
    console = Console(width=80, file=StringIO())
    console.print(to_terminal(table_of(rows)))
    lines = console.file.getvalue().splitlines()
    assert " ".join(lines[0].split()) == "Know. Multi. Comm. Math BBH Safety Mean MT-B AE 1.0 AE 2.0"
    assert lines[1].split() == ["short_instructions_long_outputs"]
    assert lines[2].split() == ["it", *["12.50"] * 7, *["0.12"] * 3]
    assert lines[3].split() == ["neftune", *["99.00\u2020"] * 7, *["0.99\u2020"] * 3]
    assert lines[4].split() == [*["\u219186.50"] * 7, *["\u21910.86"] * 3]


def test_marked_numbers_stand_apart_where_there_is_room():
    rows = [
        row(name, value, loss=loss) for name in ("mmlu", "bbh") for loss, value in (("it", 0), ("im", 0.5))
    ]
    plain = table_of(rows)
    starred = (Difference(50.0, 1.0, p=0.001),) * 3
    table = replace(plain, lines=(plain.lines[0], replace(plain.lines[1], differences=starred)))
    assert "\u219150.00* \u219150.00* \u219150.00*" in to_terminal(table, 80).plain
    assert "\u219150.00*\u219150.00*\u219150.00*" in to_terminal(table, 26).plain


def test_the_terminal_shows_the_caption(table):
    console = Console(width=200, file=StringIO())
    console.print(to_terminal(table))
    assert all(sentence in console.file.getvalue().replace("\n", " ") for sentence in table.caption[:5])


def test_a_difference_that_rounds_to_nothing_has_no_direction():
    rows = [row("mmlu", 0.5), row("mmlu", 0.49999, loss="im")]
    assert "(0.00)" in to_markdown(table_of(rows))


def test_only_what_differs_between_rows_is_labelled():
    rows = [row("mmlu", 0.5, seed=seed, subset=f"first_{size}") for seed in (0, 1) for size in (10, 20)]
    assert to_markdown(table_of(rows)).startswith("| Dataset | Subset | Seed | Loss |")
    models = [row("mmlu", 0.5, model=model) for model in ("toy", "opt")]
    assert to_markdown(table_of(models)).startswith("| Model | Dataset | Loss |")


def test_cells_that_are_alike_in_all_else_show_their_names():
    rows = [row("mmlu", 0.5, loss="plw", cell=f"plw-{weight}") for weight in (1, 2)]
    text = to_markdown(table_of(rows))
    assert "| plw | plw-1 |" in text and "| plw | plw-2 |" in text


def test_rendering_again_gives_the_same_bytes_and_no_drafts(tmp_path, table):
    write_table(tmp_path, "small", table)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_table(tmp_path, "small", table)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert sorted(first) == ["small.csv", "small.md", "small.tex"]


def test_what_is_better_is_green_whichever_way_it_points():
    how = {"task": "heldout", "metric": "output_loss_per_token"}
    lower = [row("losses", 1.0, **how), row("losses", 0.5, loss="im", **how)]
    higher = [row("mmlu", 0.2), row("mmlu", 0.5, loss="im")]
    wanted = Report(baseline="it", reading="corrected")
    for rows, arrow in ((lower, "\u2193"), (higher, "\u2191")):
        found = of_analyses(rows) or by_category(rows, "corrected")
        text = to_terminal(cell_table(rows, found, name="small", wanted=wanted))
        (span, *_) = [each for each in text.spans if arrow in text.plain[each.start : each.end]]
        assert span.style == "green"
