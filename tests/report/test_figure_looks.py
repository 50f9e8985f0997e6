"""Losses are told apart without colour, and look alike in every figure."""

import itertools

from matplotlib.colors import to_rgb

from im_bench.report.figures import COLOURS, look, ranks, stroke


def luminance(colour):
    """Relative luminance of sRGB (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_shapes_and_fillings_differ_whatever_the_colours():
    grey = [(look(rank)["marker"], look(rank)["markerfacecolor"] == "white") for rank in range(14)]
    assert len(set(grey)) == 14


def test_lines_of_the_first_five_losses_differ_whatever_the_colours():
    assert len({str(stroke(rank)["linestyle"]) for rank in range(5)}) == 5


def test_every_colour_is_seen_on_white():
    assert all((1 + 0.05) / (luminance(colour) + 0.05) > 2 for colour in COLOURS)


def test_it_and_im_look_alike_in_every_sweep():
    for losses in itertools.permutations(("plw", "im", "neftune", "it")):
        rank = ranks(losses)
        assert (rank["it"], rank["im"]) == (0, 1)
        assert sorted(rank[each] for each in losses) == [0, 1, 2, 3]
