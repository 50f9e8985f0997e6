"""The page in a real browser, from the disk and offline. Every test also holds that the console stays silent."""

import re
import shutil

import pytest
from small_page import HOSTILE, make_page


def losses(page):
    """Dataset and loss of the table's lines, as they stand."""
    return [
        tuple(text.strip() for text in row.locator(".first, .text").all_inner_texts())
        for row in page.locator("#table tbody tr").all()
    ]


def items_shown(page):
    page.wait_for_selector("#list .item")
    return page.locator("#list .item h3").all_inner_texts()


def test_the_overview_stands_when_the_page_is_opened(look, small):
    page = look(small)
    assert page.title() == "small - im-bench"
    assert losses(page) == [("it", "lima"), ("im", "lima"), ("im", "dolly")]
    assert page.inner_text("#cell-count") == "3 of 3 cells"
    assert "3 cells" in page.inner_text("#summary")
    assert page.locator("#table caption").count() == 1


def test_a_heading_sorts_down_then_up_then_as_it_was(look, small):
    page = look(small)
    head = page.locator("th[data-key='=piqa']")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [loss for loss in losses(page)] == [("im", "lima"), ("it", "lima"), ("im", "dolly")]
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert losses(page) == [("im", "dolly"), ("it", "lima"), ("im", "lima")]
    head.locator("button").press("Space")
    assert head.get_attribute("aria-sort") is None
    assert losses(page) == [("it", "lima"), ("im", "lima"), ("im", "dolly")]


def test_numbers_sort_as_numbers_and_unknown_ones_last(look, small):
    page = look(small, "#overview?sort=%3Dpiqa:up&numbers=differences")
    assert losses(page)[0] == ("im", "lima")
    page.locator("th[data-key='=piqa'] button").click()  # the third state
    page.locator("th[data-key='=piqa'] button").click()
    assert losses(page)[0] == ("im", "lima")


def test_filters_and_words_leave_the_cells_that_fit(look, small):
    page = look(small)
    page.select_option("#filter-loss", "im")
    assert losses(page) == [("im", "lima"), ("im", "dolly")]
    page.fill("#find-cell", "DOL im")
    assert losses(page) == [("im", "dolly")]
    assert page.inner_text("#cell-count") == "1 of 3 cells"


def test_a_difference_is_signed_starred_and_tells_its_interval_on_hover_and_focus(look, small):
    page = look(small)
    page.check("[value=differences]")
    number = page.locator("tr", has_text="im").locator("td.up").first
    assert number.inner_text() == "+12.50*"
    assert "sure" in number.get_attribute("class")
    number.hover()
    assert "+3.25 to +21.75" in page.inner_text("#tip")
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    number.focus()
    assert "p = 0.012" in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_arrow_keys_walk_over_the_numbers(look, small):
    page = look(small, "#overview?columns=benchmarks")
    page.locator("td[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    here = page.evaluate(
        "[document.activeElement.parentElement.dataset.cell, document.activeElement.dataset.column]"
    )
    assert here == ["0", "1"]
    assert page.locator("td[tabindex='0']").count() == 1


def test_the_whole_page_can_be_used_from_the_keyboard(look, small):
    page = look(small)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#tab-overview").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-figures", "aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == "tab-figures"
    assert page.locator("[role=tab][tabindex='0']").count() == 1
    page.keyboard.press("End")
    assert page.locator("#view-items").is_visible()
    page.keyboard.press("Home")
    assert page.locator("#view-overview").is_visible()


def test_focus_is_always_visible(look, small):
    page = look(small)
    for _ in range(12):
        page.keyboard.press("Tab")
        seen = page.evaluate("""() => {
            const focused = document.activeElement;
            const shown = focused.type === 'radio' ? focused.nextElementSibling : focused;
            return getComputedStyle(shown).outlineStyle;
        }""")
        assert seen != "none"


def test_items_of_the_baseline_and_another_loss_stand_side_by_side(look, small):
    page = look(small)
    page.locator("#tab-items").click()
    assert items_shown(page)[:2] == ["piqa, item 1", "piqa, item 2"]
    assert page.inner_text("#item-count") == ("45 of 45 items: left better 0, right better 15, equal 30")
    sides = page.locator("#list .item").nth(3).locator(".side").all_inner_texts()
    assert "it · lima" in sides[0] and "wrong" in sides[0] and "better" not in sides[0]
    assert "im · lima" in sides[1] and "right" in sides[1] and "better" in sides[1]
    assert "The judge says: [[7]]" in page.locator("#list .item").nth(4).inner_text()


def test_a_question_that_has_the_cells_own_words_stands_on_its_side(look, small):
    page = look(small, "#items")
    items_shown(page)
    sides = page.locator("#list .item").nth(5).locator(".side").all_inner_texts()
    assert "[answer 1] of cell-it" in sides[0]
    assert "[answer 1] of cell-im" in sides[1]


def test_only_where_they_differ_who_won_and_a_search_leave_the_items_that_fit(look, small):
    page = look(small, "#items")
    items_shown(page)
    page.check("#differ")
    assert len(items_shown(page)) == 14 + 1
    page.select_option("#won", "equal")
    assert page.inner_text("#item-count").startswith("0 of 45")
    page.select_option("#won", "right")
    page.fill("#find-item", "QUESTION 4")
    page.get_by_text("1 of 45 items").wait_for()
    assert page.inner_text("#list .item mark") == "Question 4"


def test_items_are_turned_a_page_at_a_time(look, small):
    page = look(small, "#items")
    assert len(items_shown(page)) == 20
    page.click("#page-after")
    assert items_shown(page)[0] == "piqa, item 21"
    page.fill("#page", "99")
    page.press("#page", "Enter")
    assert items_shown(page) == [f"piqa, item {number}" for number in range(41, 46)]
    assert page.locator("#page-after").is_disabled()
    assert "page=3" in page.url


def test_what_a_model_wrote_is_shown_as_text_and_does_nothing(look, small):
    page = look(small, "#items")
    items_shown(page)
    said = page.locator("#list .item").first.locator(".side .words").first.text_content()
    assert said == HOSTILE
    assert page.locator("#list img, #list b, #list script").count() == 0
    page.fill("#find-item", "</SCRIPT><img src=x")
    page.wait_for_selector("#list mark")
    assert page.title() == "small - im-bench"


def test_the_policy_runs_no_script_but_the_pages_own(look, small):
    page = look(small)
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.ran = 1\">')"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert page.complaints
    page.complaints.clear()  # the policy complains of the image's handler, as it should


def test_a_view_is_found_again_by_its_address(look, small):
    page = look(small, "#items")
    items_shown(page)
    page.select_option("#right", label="im · dolly")
    page.select_option("#left", label="im · lima")
    page.check("#differ")
    items_shown(page)
    again = look(small, page.url[page.url.index("#") :])
    assert items_shown(again) == items_shown(page)
    assert again.is_checked("#differ")
    assert again.input_value("#left") == page.input_value("#left")
    table = look(small, "#overview?columns=benchmarks&sort=%3Dpiqa:down&loss=im")
    assert losses(table) == [("im", "lima"), ("im", "dolly")]
    assert table.locator("#table thead th").count() == 4


@pytest.mark.parametrize(
    "address", ["#items/nothing/%E0%A4%A/x?page=-3", "#cells/nobody", "#nowhere", "#overview?loss=no"]
)
def test_an_address_of_nothing_leads_to_what_there_is(look, small, address):
    page = look(small, address)
    assert page.locator("[role=tabpanel]:visible").count() == 1


def test_back_returns_to_the_view_before(look, small):
    page = look(small)
    page.select_option("#filter-loss", "im")
    page.click("#tab-cells")
    page.go_back()
    assert page.locator("#view-overview").is_visible()
    assert len(losses(page)) == 2


def test_a_cell_shows_its_config_labels_curve_and_cost(look, small):
    page = look(small)
    page.locator("#table tbody a").nth(1).click()
    said = page.inner_text("#cell-shown")
    assert page.inner_text("#cell-shown h2") == "im · lima"
    for fact in ("train.epochs", "dropped", "2.0 min", "2.50e+12", "$0.42", "+12.50 *"):
        assert fact in said
    page.locator(".curve").focus()
    page.keyboard.press("Home")
    assert page.inner_text("output") == "step 1: loss 4"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("output").startswith("step 2")
    page.locator(".curve").hover()
    assert re.fullmatch(r"step \d+: loss 0\.0\d+", page.inner_text("output"))
    page.get_by_text("rows of the ledger").click()
    page.locator("details table").wait_for()
    assert page.locator("details table tbody tr").count() == 2


def test_figures_keep_the_titles_that_a_pointer_shows_and_link_to_their_files(look, small):
    page = look(small, "#figures")
    assert page.locator("figure svg title").first.text_content() == "im: 62.50"
    links = [link.get_attribute("href") for link in page.locator("figure").first.locator("a").all()]
    assert links == ["../../figures/small.pdf", "../../figures/small.png"]


def test_without_its_folder_of_data_the_page_says_so_and_the_rest_works(look, small, tmp_path):
    shutil.copy(small, tmp_path / "index.html")
    page = look(tmp_path / "index.html", "#items")
    page.wait_for_selector("#list .notice")
    assert "data/cellitpiqa.js cannot be read" in page.inner_text("#list")
    page.click("#tab-overview")
    assert len(losses(page)) == 3
    page.complaints.clear()  # the browser's own word for a file that is not there


def test_a_benchmark_without_items_says_so(look, small):
    page = look(small, "#items/mt_bench")
    page.wait_for_selector("#list .notice")
    assert "No items are kept of it · lima" in page.inner_text("#list")


def test_a_sweep_without_figures_says_so(look, tmp_path):
    page = look(make_page(tmp_path, figures=()), "#figures")
    assert "no figures" in page.inner_text("#view-figures")


CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const bright = (text) => {
    const [r, g, b] = channels(text).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const ground = getComputedStyle(node).backgroundColor;
    return ground === 'rgba(0, 0, 0, 0)' && node.parentElement ? behind(node.parentElement) : ground;
  };
  const seen = [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility()
    && !node.closest('svg, .unseen') && !node.disabled
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return seen.map((node) => {
    const [one, two] = [bright(getComputedStyle(node).color), bright(behind(node))];
    return [(Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05), node.outerHTML.slice(0, 80)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["#overview?numbers=differences", "#cells/cell-im", "#items"])
def test_every_text_stands_out_from_its_ground(look, small, scheme, address):
    page = look(small, address, color_scheme=scheme, reduced_motion="reduce")
    assert page.get_attribute("html", "data-theme") == scheme
    if address == "#items":
        items_shown(page)
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 20
    assert [text for ratio, text in ratios if ratio < 4.5] == []


def test_the_theme_can_be_chosen_and_is_kept(look, small):
    page = look(small, color_scheme="dark")
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") == "light"
    page.reload()
    assert page.get_attribute("html", "data-theme") == "light"
    assert page.inner_text("#theme") == "Theme: light"


def test_every_control_has_a_name_and_headings_do_not_jump(look, small):
    page = look(small, "#items")
    items_shown(page)
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, select, input, a')]
      .filter((control) => !(control.textContent.trim() || control.labels?.length || control.ariaLabel))
      .map((control) => control.outerHTML)""")
    assert nameless == []
    for view in ("overview", "figures", "cells", "items"):
        page.click(f"#tab-{view}")
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].filter((each) => each.checkVisibility())"
            ".map((each) => Number(each.tagName[1]))"
        )
        assert levels[0] == 1
        assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))
    assert page.locator("main, header, nav").count() >= 3
    assert page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("address", ["#overview?columns=benchmarks", "#figures", "#cells", "#items"])
def test_nothing_is_wider_than_a_telephone(look, small, address):
    page = look(small, address, viewport={"width": 360, "height": 740})
    if address == "#items":
        items_shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_on_paper_there_are_no_controls_and_nothing_is_cut_off(look, small):
    page = look(small)
    page.emulate_media(media="print")
    assert page.locator(".controls:visible, [role=tablist]:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"


def test_an_epoch_s_cell_says_that_cost_and_curve_are_those_of_the_whole_training(look, small, tmp_path):
    folder = shutil.copytree(small.parent, tmp_path / "epochs")
    text = (folder / "index.html").read_text()
    (folder / "index.html").write_text(text.replace('"epoch":null', '"epoch":2'))
    headings = look(folder / "index.html", "#cells").locator("#cell-shown h3").all_inner_texts()
    assert {"Loss curve, of the whole training", "Cost, of the whole training"} <= set(headings)
    headings = look(small, "#cells").locator("#cell-shown h3").all_inner_texts()
    assert {"Loss curve", "Cost"} <= set(headings)
