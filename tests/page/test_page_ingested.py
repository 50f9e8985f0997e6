"""The page of scores that were ingested, alone and beside our own, in a real browser."""

import json
from pathlib import Path

import pytest
from small_page import ingested, judged, make_page

from im_bench.cli import main
from im_bench.report.collect import read_ledger

VIEWS = ("overview", "figures", "cells", "items")
LEADERBOARD = "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"


def results_of(model: str, accuracy: float) -> str:
    """What lm-eval writes of one task."""
    scores = {"acc,none": accuracy, "acc_stderr,none": 0.04}
    content = {
        "results": {"winogrande": scores},
        "group_subtasks": {"winogrande": []},
        "versions": {"winogrande": 1.0},
        "n-shot": {"winogrande": 0},
        "n-samples": {"winogrande": {"original": 100, "effective": 100}},
        "configs": {},
        "model_name": model,
    }
    return json.dumps(content)


@pytest.fixture(scope="module")
def taken(tmp_path_factory) -> Path:
    """The page of a results folder into which files of two models were ingested, and nothing else."""
    files, results = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("results")
    (files / "results_one.json").write_text(results_of("org/one", 0.7))
    (files / "results_two.json").write_text(results_of("org/two", 0.75))
    (files / LEADERBOARD).write_text(
        ",win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,mode,avg_length,length_controlled_winrate\n"
        "org/one,12.5,1.25,100,700,4,804.0,community,1234.0,15.5\n"
    )
    own = f"paths.results={results}"
    assert main(["ingest", *map(str, sorted(files.iterdir())), "--sweep", "others", own]) == 0
    assert main(["report", "others", own]) == 0
    return results / "pages/others/index.html"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Our three cells, one whose scores were ingested, and one whose answers were judged here."""
    results = tmp_path_factory.mktemp("mixed")
    return make_page(results, others=[ingested("theirs"), judged(results, "judged")])


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_of_ingested_scores_is_called_unknown(look, taken, view):
    said = look(taken, f"#{view}").inner_text("body")
    assert "unknown" not in said
    assert "baseline" not in said
    assert "not in the store" not in said


def test_ingested_cells_go_by_their_models(look, taken):
    page = look(taken, "#overview?numbers=differences")
    assert page.locator("#table thead th").first.inner_text() == "Model"
    assert page.locator("#table tbody th").all_inner_texts() == ["org/one", "org/two"]
    assert page.locator("#table tbody .text").count() == 0
    assert page.locator("#numbers").is_hidden()
    assert "75.00" in page.inner_text("#table")
    page.locator("#table thead button").first.click()
    page.locator("#table thead button").first.click()
    assert page.locator("#table tbody th").all_inner_texts() == ["org/two", "org/one"]


def test_an_ingested_cell_says_which_files_its_scores_are_from(look, taken):
    page = look(taken)
    page.get_by_role("link", name="org/one").click()
    assert page.locator("#cell-shown h3").all_inner_texts() == ["Scores", "Source", "Ledger"]
    card = page.locator(".card", has=page.get_by_role("heading", name="Source")).inner_text()
    assert "The scores of this model were ingested" in card
    sources = {row.source for row in read_ledger(taken.parents[2] / "scores.jsonl") if row.model == "org/one"}
    assert len(sources) == 2
    assert all(source in card for source in sources)
    page.get_by_text("rows of the ledger").click()
    last = page.locator("details table tr").last
    assert last.inner_text().split("\t")[-1] in sources


def test_ingested_scores_have_no_items_and_nothing_to_choose_from(look, taken):
    page = look(taken, "#items")
    assert "its scores were ingested, and ingested scores have none" in page.inner_text("#list")
    assert page.locator("#view-items").locator("select, input, button").filter(visible=True).count() == 0


def test_ingested_cells_stand_beside_our_own(look, mixed):
    page = look(mixed)
    assert page.locator("#table thead .text").all_inner_texts() == ["Loss or model", "Dataset"]
    lines = [row.locator(".text, .first").all_inner_texts() for row in page.locator("#table tbody tr").all()]
    assert lines == [["it", "lima"], ["im", "lima"], ["im", "dolly"], ["theirs", ""], ["judged", ""]]
    assert "baseline it" in page.inner_text("#summary")
    assert page.locator("#numbers").is_visible()
    page.locator("#table thead button").first.click()
    assert page.locator("#table tbody th").all_inner_texts() == ["im", "im", "it", "judged", "theirs"]
    page.select_option("#filter-model", "theirs")
    assert page.locator("#table tbody th").all_inner_texts() == ["theirs"]


def test_a_cell_shows_only_what_it_was_asked_and_can_have(look, mixed):
    heads = look(mixed, "#cells/cell-im").locator("#cell-shown thead th").all_inner_texts()
    assert heads[:5] == ["Benchmark", "Score", "Error", "To it", "Items"]
    table = look(mixed, "#cells/cell-theirs").locator("#cell-shown table").first
    assert table.locator("th").all_inner_texts() == ["Benchmark", "Score", "Error", "Items", "PIQA"]


def test_of_answers_that_were_judged_here_the_cell_says_so(look, mixed):
    page = look(mixed, "#cells/cell-judged")
    said = page.inner_text("#cell-shown")
    assert "given in a file and judged here" in said
    assert "results_judged.json (sha256 0123456789ab)" in said
    costs = page.locator(".card", has=page.get_by_role("heading", name="Cost"))
    assert costs.locator("dt").all_inner_texts() == ["scoring"]


def test_a_cell_without_items_cannot_be_chosen_and_its_address_says_why(look, mixed):
    page = look(mixed, "#items")
    page.wait_for_selector("#list .item")
    for side in ("left", "right"):
        barred = page.locator(f"#{side} option:disabled").all_inner_texts()
        assert barred == ["theirs (ingested, no items)"]
    page.select_option("#right", label="judged")
    page.wait_for_selector("#list .side:has-text('judged')")
    page = look(mixed, "#items/piqa/cell-theirs/cell-im")
    page.wait_for_selector("#list .notice")
    said = "No items are kept of theirs on this benchmark: ingested scores have no items."
    assert page.inner_text("#list") == said
    page.select_option("#left", label="it · lima")
    page.wait_for_selector("#list .item")


@pytest.mark.parametrize("view", VIEWS)
def test_a_long_name_of_a_model_is_not_wider_than_a_telephone(look, tmp_path, view):
    model = "organisation-a-model-7b-instruct-of-the-third-version-merged"
    page = look(
        make_page(tmp_path, others=[ingested(model)]), f"#{view}", viewport={"width": 360, "height": 740}
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
