"""The SVG of a figure as it stands on a page: words over its points, ids its own, nothing that acts beyond it."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from im_bench.report.figures import hover, svg, write_figure

SVG = "{http://www.w3.org/2000/svg}"
WORDS = 'lima, "im" <b>: +6.25 & more'


def draw():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    for x, text in ((1, WORDS), (2, "the other")):
        (point,) = axes.plot(x, x, marker="o")
        hover(point, text)
    axes.fill_between([1, 2], [0, 1], hatch="//")
    axes.set_title("a title")
    return figure


def titled(image):
    """The elements that have a title of their own, by its words."""
    root = ElementTree.fromstring(image)
    return {
        element.findtext(f"{SVG}title"): element
        for element in root.iter()
        if element.find(f"{SVG}title") is not None
    }


def test_each_marked_artist_has_its_words_as_title_and_first_child():
    found = titled(svg("small", draw))
    assert list(found) == [WORDS, "the other"]
    assert all(element[0].tag == f"{SVG}title" for element in found.values())
    assert found[WORDS].find(f".//{SVG}use") is not None


def test_ids_of_two_figures_do_not_collide_and_every_reference_is_to_an_own_id():
    first, second = (svg(name, draw) for name in ("one", "two of them"))
    ids = [re.findall(r'\bid="([^"]+)"', image) for image in (first, second)]
    assert len(set(ids[0])) == len(ids[0])
    assert not set(ids[0]) & set(ids[1])
    for image, own in zip((first, second), ids, strict=True):
        references = set(re.findall(r'href="#([^"]+)"', image)) | set(re.findall(r"url\(#([^)]+)\)", image))
        assert references and references <= set(own)
    assert all(re.fullmatch(r"[\w.-]+", each) for each in ids[1])


def test_text_stays_text():
    texts = [element.text for element in ElementTree.fromstring(svg("small", draw)).iter(f"{SVG}text")]
    assert "a title" in texts


def test_nothing_in_it_acts_on_the_page_around_it():
    image = svg("small", draw)
    assert image.startswith("<svg ")
    assert not any(each in image for each in ("<style", "<!DOCTYPE", "<?xml", "metadata", "matplotlib.org"))


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_equal_figures_are_equal_bytes(tmp_path, suffix):
    for folder in ("a", "b"):
        write_figure(tmp_path / folder, "small", draw, (suffix,))
    first, second = ((tmp_path / folder / f"small.{suffix}").read_bytes() for folder in ("a", "b"))
    assert first == second


def test_the_file_is_what_stands_on_a_page(tmp_path):
    write_figure(tmp_path, "small", draw, ("svg",))
    assert (tmp_path / "small.svg").read_text() == svg("small", draw)
