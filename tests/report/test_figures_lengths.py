"""Histograms of lengths: of one dataset, and the outputs of several."""

import numpy as np

from im_bench.report.figures import svg
from im_bench.report.figures.lengths import outputs_figure

INSTRUCTION = np.array([5, 5, 5, 5])
DATASETS = {
    "lima": (INSTRUCTION, np.array([2, 2, 10, 20])),
    "tydiqa": (INSTRUCTION, np.array([0, 1, 1, 300])),
}


def test_each_dataset_has_a_panel_with_its_median_and_mode():
    first, second = outputs_figure(DATASETS, unit="words").axes
    assert first.get_title(loc="left") == "lima\nmedian 6, mode 2"
    assert second.get_title(loc="left") == "tydiqa\nmedian 1, mode 1"
    assert [list(line.get_xdata())[0] for line in first.lines] == [6, 2]
    assert len({line.get_linestyle() for line in first.lines}) == 2


def test_every_output_is_counted_the_empty_one_too():
    for axes in outputs_figure(DATASETS, unit="words").axes:
        assert axes.patches[0].get_data().values.sum() == 4


def test_the_panels_share_one_axis():
    first, second = outputs_figure(DATASETS, unit="words").axes
    assert first.get_xlim() == second.get_xlim() and first.get_xscale() == "log"


def test_what_is_said_over_a_histogram_has_its_numbers():
    image = svg("small", lambda: outputs_figure(DATASETS, unit="words"))
    assert "<title>lima: 4 conversations, median 6, mode 2 words</title>" in image
