"""What can be chosen among the items: nothing that could not change what is shown."""

from dataclasses import replace

import pytest
from small_page import grid, judged, make_page, row

from im_bench.report.page import write_page
from im_bench.report.page.grid import Grid, Line, Number
from im_bench.report.words import benchmark_column


def sides(page):
    """The cells that stand side by side."""
    page.wait_for_selector("#list .item")
    return page.locator("#list .item").first.locator(".side strong").all_inner_texts()


def test_one_cell_alone_shows_its_answers_and_no_comparison(look, tmp_path):
    page = look(make_page(tmp_path, cells=["cell-im"]), "#items")
    assert sides(page) == ["im · lima"]
    assert page.inner_text("#item-count") == "45 of 45 items"
    assert page.inner_text("#left-name") == "Cell"
    assert page.locator("#left").is_disabled()
    assert page.locator("#right, #task, #won, #differ").filter(visible=True).count() == 0
    assert page.locator("#find-item").is_visible()
    assert page.locator("#list .badge").count() == 0
    width = page.locator("#list .side").first.bounding_box()["width"]
    assert width == pytest.approx(page.locator("#list .sides").first.bounding_box()["width"], abs=2)
    assert page.url.endswith("#items/piqa/cell-im")


def test_filters_of_an_address_do_not_hide_the_items_of_one_cell(look, tmp_path):
    page = look(make_page(tmp_path, cells=["cell-im"]), "#items/piqa/cell-im/cell-im?differ=1&better=left")
    assert sides(page) == ["im · lima"]
    assert page.inner_text("#item-count") == "45 of 45 items"


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ("cell-im/cell-im", ["im · lima", "it · lima"]),
        ("cell-it", ["it · lima", "im · lima"]),
        ("cell-dolly/nobody", ["im · dolly", "it · lima"]),
    ],
)
def test_a_cell_is_not_compared_with_itself(look, small, cells, shown):
    assert sides(look(small, f"#items/piqa/{cells}")) == shown


def test_the_cell_of_the_other_side_changes_sides(look, small):
    page = look(small, "#items")
    assert sides(page) == ["it · lima", "im · lima"]
    page.select_option("#left", label="im · lima")
    page.wait_for_selector(".side:first-child:has-text('im · lima')")
    assert sides(page) == ["im · lima", "it · lima"]
    assert page.locator("#right option:checked").inner_text() == "it · lima"


def test_who_is_better_offers_only_what_there_is(look, small):
    page = look(small, "#items?better=left")
    sides(page)
    offered = page.locator("#won option").all_inner_texts()
    assert offered == ["all", "right: im · lima", "equal"]
    assert page.inner_text("#item-count").startswith("45 of 45")


def test_where_all_is_equal_and_nothing_differs_neither_can_be_asked(look, small):
    page = look(small, "#items/piqa/cell-it/cell-dolly?differ=1&better=left")
    sides(page)
    assert page.locator("#won").is_hidden()
    assert page.locator("#differ").is_disabled()
    assert not page.is_checked("#differ")
    assert page.inner_text(".check") == "Only where they differ (none do)"
    assert page.inner_text("#item-count").startswith("45 of 45")
    page.select_option("#right", label="im · lima")
    page.wait_for_selector("#differ:enabled")
    assert page.inner_text(".check") == "Only where they differ"


def test_where_everything_differs_that_is_said(look, tmp_path):
    page = look(make_page(tmp_path, items=1), "#items")
    sides(page)
    assert page.locator("#differ").is_disabled()
    assert page.inner_text(".check") == "Only where they differ (all do)"


def test_a_benchmark_without_items_cannot_be_chosen(look, small):
    page = look(small, "#items")
    sides(page)
    assert page.locator("#benchmark option").all_inner_texts() == ["PIQA", "MT-Bench (no items)"]
    assert page.locator("#benchmark").is_disabled()  # the other is the one that is shown
    page = look(small, "#items/mt_bench")
    page.select_option("#benchmark", label="PIQA")
    assert sides(page) == ["it · lima", "im · lima"]


def test_a_benchmark_that_the_cells_were_not_asked_has_those_that_were(look, tmp_path):
    """ARC was asked of two models of others alone."""
    make_page(tmp_path)
    arc = [replace(judged(tmp_path, model), benchmark="arc", task="arc") for model in ("theirs", "others")]
    rows = [row("cell-it", "piqa"), row("cell-im", "piqa"), *arc]
    lines = [Line(cell, (Number(value=1.0, total=8),)) for cell in dict.fromkeys(each.cell for each in rows)]
    tables = {"benchmarks": Grid((benchmark_column("piqa"),), tuple(lines), ())}
    page = look(write_page(tmp_path, "small", rows, tables=tables, figures={}, baseline="it"), "#items")
    assert sides(page) == ["it · lima", "im · lima"]
    page.select_option("#benchmark", label="ARC")
    page.wait_for_selector(".side:has-text('theirs')")
    assert sides(page) == ["theirs", "others"]


def test_a_sweep_whose_steps_are_gone_says_so_and_offers_nothing(look, tmp_path):
    tables = {"benchmarks": grid("piqa", cells=["cell-it"])}
    file = write_page(tmp_path, "small", [row("cell-it", "piqa")], tables=tables, figures={}, baseline="it")
    page = look(file, "#items")
    assert page.inner_text("#list").startswith("This sweep has no items: the steps that scored it are not in")
    assert page.locator("#choices").is_hidden()


def test_base_models_are_told_apart_by_their_names(look, tmp_path):
    make_page(tmp_path)
    base = [
        replace(
            row("cell-it", "piqa"), cell=f"cell-{name}", model=name, dataset=None, subset=None, loss="none"
        )
        for name in ("small", "large")
    ]
    lines = tuple(Line(each.cell, (Number(value=1.0, total=8),)) for each in base)
    tables = {"benchmarks": Grid((benchmark_column("piqa"),), lines, ())}
    page = look(write_page(tmp_path, "small", base, tables=tables, figures={}, baseline="it"), "#cells")
    names = ["none · (base model) · small", "none · (base model) · large"]
    assert page.locator("#cell option").all_inner_texts() == names
    assert "baseline" not in page.inner_text("#summary")


COVERED = """() => {
  const number = document.activeElement;
  const [box, frame] = [number, number.closest('.scroll')].map((each) => each.getBoundingClientRect());
  const first = number.parentElement.cells[0].getBoundingClientRect();
  const head = document.querySelector('#table thead th').getBoundingClientRect();
  return box.left < first.right - 1 || box.right > frame.right + 1 || box.top < head.bottom - 1;
}"""


def test_no_number_that_the_arrow_keys_reach_is_covered(look, tmp_path):
    columns = tuple(map(benchmark_column, ("mmlu", "piqa", "openbookqa", "hellaswag", "lambada", "arc")))
    rows = [replace(row("cell-it", "piqa"), cell=f"cell-{seed}", seed=seed) for seed in range(12)]
    lines = tuple(Line(each.cell, (Number(value=12.34, stderr=1.0, total=8),) * 6) for each in rows)
    tables = {"benchmarks": Grid(columns, lines, ())}
    file = write_page(tmp_path, "small", rows, tables=tables, figures={}, baseline="it")
    page = look(file, viewport={"width": 360, "height": 300})
    page.locator("td[tabindex='0']").focus()
    for key, times in (("ArrowRight", 5), ("ArrowDown", 11), ("ArrowLeft", 5), ("ArrowUp", 11)):
        for _ in range(times):
            page.keyboard.press(key)
            assert not page.evaluate(COVERED), f"after {key}"
    assert page.evaluate("document.activeElement.dataset.column") == "0"
