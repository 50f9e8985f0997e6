"""What the page's builder writes."""

import json
import re
from dataclasses import replace

import pyarrow
import pyarrow.parquet
from small_page import CELLS, HOSTILE, grid, ingested, make_page, row

from im_bench.report.page import write_page
from im_bench.report.page.details import POINTS, cell_details
from im_bench.report.page.texts import script_json
from im_bench.store import finished


def given(page, name):
    """The data of a page: what a browser would parse."""
    text = page.read_text()
    return json.loads(re.search(rf'id="given-{name}">(.*?)</script>', text, re.DOTALL)[1])


def all_bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_equal_inputs_give_equal_bytes(tmp_path):
    first = all_bytes(make_page(tmp_path / "one").parent)
    assert (
        len(first) == 7
    )  # the page, and of three cells the answers and the questions, of which one is each cell's own
    assert first == all_bytes(make_page(tmp_path / "two").parent)
    assert first == all_bytes(make_page(tmp_path / "two").parent)


def test_files_of_an_earlier_page_are_removed(tmp_path):
    page = make_page(tmp_path, items=5)
    before = set((page.parent / "data").iterdir())
    make_page(tmp_path, items=3)
    after = set((page.parent / "data").iterdir())
    # Three cells' answers keep their names, which are the steps'; the questions stand once, and are others.
    assert len(before) == len(after) == 4
    assert len(before & after) == 3


def test_no_script_ends_within_data(small):
    text = small.read_text()
    assert text.count("</script>") == 3
    data = next((small.parent / "data").glob("cellit*.js")).read_text()
    assert "<" not in data
    assert data.isascii()
    assert script_json(HOSTILE).isascii()
    assert json.loads(script_json(HOSTILE)) == HOSTILE


def test_the_page_names_no_address_but_its_own_files(small):
    text = small.read_text()
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= spaces
    assert "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert "script-src 'sha256-" in text


def test_figures_do_not_share_ids(small):
    text = small.read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "small-figure_1" in ids and "small_trend-figure_1" in ids


def test_config_labels_and_cost_come_from_the_training_step(small):
    details = given(small, "details")[list(CELLS).index("cell-im")]
    assert ["train.epochs", "3"] in details["config"]
    assert details["labels"]["counts"]["dropped_rows"] == 3
    assert details["labels"]["supervised"] == {"instruction": 0, "output": 400}
    assert details["cost"]["training_flops"] == 2.5e12
    assert details["cost"]["scoring_seconds"] == 60.0
    assert details["cost"]["judge_prompt_tokens"] == 1200
    assert details["cost"]["judge_cost"] == 0.42


def test_what_a_training_says_of_itself_costs_no_scoring(tmp_path):
    """The lengths of a dataset are rows of the training step itself."""
    make_page(tmp_path)
    folders = finished(tmp_path / "store")
    lengths = replace(row("cell-im", "piqa"), benchmark="lengths", category="analysis", step="traincellim")
    details = cell_details([lengths], folders)
    assert details["cost"]["scoring_seconds"] is None
    assert details["cost"]["training_flops"] == 2.5e12 and details["config"] and details["labels"]
    both = cell_details([lengths, row("cell-im", "piqa")], folders)
    assert both["cost"]["scoring_seconds"] == 30.0


def test_a_long_loss_curve_is_thinned_to_its_ends_and_between(small):
    curve = given(small, "details")[0]["curve"]
    assert len(curve) == POINTS
    assert curve[0] == [1, 4.0]
    assert curve[-1] == [400, 0.01]
    assert curve == sorted(curve)


def test_a_step_that_is_not_in_the_store_leaves_its_cell_without_details(tmp_path):
    make_page(tmp_path)
    for folder in (tmp_path / "store" / "train").iterdir():
        (folder / "step.json").unlink()
    details = cell_details([row("cell-it", "piqa")], finished(tmp_path / "store"))
    assert (details["config"], details["labels"], details["curve"]) == ([], None, [])
    assert details["cost"]["training_seconds"] is None
    assert details["cost"]["scoring_seconds"] == 30.0


def test_a_step_whose_items_lack_texts_has_none(tmp_path):
    page = make_page(tmp_path)
    items = next((tmp_path / "store" / "harness").glob("*cellitpiqa")) / "items.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"task": ["piqa"], "outcome": [1.0]}), items)
    write_page(
        tmp_path,
        "small",
        [row(cell, "piqa") for cell in CELLS],
        tables={"categories": grid("piqa"), "benchmarks": grid("piqa", "mt_bench")},
        figures={},
        baseline="it",
    )
    cells = {cell["cell"]: cell["items"] for cell in given(page, "overview")["cells"]}
    assert cells["cell-it"] == {}
    assert cells["cell-im"] == {"piqa": "cellimpiqa"}


def test_an_ingested_cell_has_its_sources_and_no_dataset_loss_or_seed(tmp_path):
    page = make_page(tmp_path, others=[ingested("theirs")])
    [ours, *_, theirs] = given(page, "overview")["cells"]
    known = {name: theirs[name] for name in ("model", "dataset", "loss", "seed", "sources", "items")}
    assert known == {
        "model": "theirs",
        "dataset": None,
        "loss": None,
        "seed": None,
        "sources": ["results_theirs.json (sha256 0123456789ab)"],
        "items": {},
    }
    assert (ours["sources"], ours["loss"], ours["seed"]) == ([], "it", 0)
    assert given(page, "details")[-1]["scores"][0][-1] == "results_theirs.json (sha256 0123456789ab)"
