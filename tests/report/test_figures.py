import pytest
from by_hand import base, row, table_of

from im_bench.report.figures import write_figure
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


def test_there_is_one_panel_for_each_dataset():
    figure = difference_figure(table_of([base("mmlu", 0.1), base("bbh", 0.1), *grid()]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lima", "tydiqa"]


def test_every_loss_but_the_baseline_is_in_the_legend():
    (legend,) = difference_figure(table_of(grid())).legends
    assert [text.get_text() for text in legend.get_texts()] == ["neftune", "im"]


def test_dots_stand_at_the_differences():
    (axes,) = difference_figure(table_of(grid(("lima",), ("it", "im")))).axes
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == pytest.approx([1, 1, 1])


def test_a_point_of_mt_bench_is_drawn_as_ten():
    rows = [row("mt_bench", 4.0), row("mt_bench", 4.5, loss="im")]
    (axes,) = difference_figure(table_of(rows)).axes
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == pytest.approx([5])


def test_a_missing_difference_says_so_and_has_no_dot():
    rows = [each for each in grid(("lima",)) if (each.loss, each.benchmark) != ("im", "bbh")]
    (axes,) = difference_figure(table_of(rows)).axes
    assert texts(axes) == ["n/a", "n/a"]  # BBH and the mean


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
