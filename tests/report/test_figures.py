from dataclasses import replace

import pytest
from by_hand import base, row, table_of

from im_bench.report.cells import PAPER
from im_bench.report.figures import look, write_figure
from im_bench.report.figures.differences import difference_figure


def grid(datasets=("lima", "tydiqa"), losses=("it", "neftune", "im")):
    return [
        row(benchmark, 0.3 + 0.01 * number, stderr=0.02, dataset=dataset, loss=loss)
        for dataset in datasets
        for number, loss in enumerate(losses)
        for benchmark in ("mmlu", "bbh")
    ]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def dots(axes):
    """Where the dots of IM stand: it has one look in every figure."""
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == look(1)["marker"]]


def test_there_is_one_panel_for_each_dataset():
    figure = difference_figure(table_of([base("mmlu", 0.1), base("bbh", 0.1), *grid()]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lima", "tydiqa"]


def test_every_loss_but_the_baseline_is_in_the_legend():
    (legend,) = difference_figure(table_of(grid())).legends
    assert [text.get_text() for text in legend.get_texts()] == ["neftune", "im"]


def test_dots_stand_at_the_differences():
    (axes,) = difference_figure(table_of(grid(("lima",), ("it", "im")))).axes
    assert dots(axes) == pytest.approx([1, 1, 1])


def test_a_point_of_mt_bench_is_drawn_as_ten():
    rows = [row("mt_bench", 4.0), row("mt_bench", 4.5, loss="im")]
    (axes,) = difference_figure(table_of(rows)).axes
    assert dots(axes) == pytest.approx([5])


def test_a_missing_difference_says_so_and_has_no_dot():
    rows = [each for each in grid(("lima",)) if (each.loss, each.benchmark) != ("im", "bbh")]
    (axes,) = difference_figure(table_of(rows)).axes
    assert texts(axes) == ["n/a", "n/a"]  # BBH and the mean


def test_a_bar_is_the_interval_of_the_items_in_pairs_where_there_is_one():
    table = table_of(grid(("lima",), ("it", "im")))
    (im,) = (each for each in table.scored if each.cell.loss == "im")
    paired = replace(im.differences[0], low=-1.5, high=3.0)
    tested = replace(table, scored=(im._replace(differences=(paired, None, None)),))
    (axes,) = difference_figure(tested).axes
    ((bar,),) = [container.lines[2] for container in axes.containers]
    assert bar.get_segments()[0][:, 0].tolist() == pytest.approx([-1.5, 3.0])


def test_the_paper_s_own_cells_are_not_drawn():
    table = table_of(grid(("lima",), ("it", "im")))
    theirs = tuple(each._replace(cell=each.cell._replace(name=PAPER)) for each in table.scored)
    assert difference_figure(replace(table, scored=theirs)).axes == []


def test_nothing_to_compare_is_said():
    figure = difference_figure(table_of([base("mmlu", 0.1)]))
    assert [text.get_text() for text in figure.texts] == ['no loss to compare with "it"']


def test_seven_datasets_share_rows_of_four():
    figure = difference_figure(table_of(grid([f"dataset_{number}" for number in range(7)])))
    assert [axes.axison for axes in figure.axes] == [True] * 7 + [False]


def test_drawing_again_gives_the_same_bytes_and_no_drafts(tmp_path):
    table = table_of(grid())
    write_figure(tmp_path, "small", lambda: difference_figure(table))
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_figure(tmp_path, "small", lambda: difference_figure(table))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert sorted(first) == ["small.pdf", "small.png"]
