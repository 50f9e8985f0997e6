from by_hand import base, row
from pytest import approx

from im_bench import paper
from im_bench.config import Report
from im_bench.report import report
from im_bench.report.cells import PAPER
from im_bench.report.collect import write_ledger
from im_bench.report.formats import to_markdown
from im_bench.report.published import printed, printed_alone
from im_bench.report.tables import category_table

WANTED = Report(baseline="it", reading="corrected")


def test_the_means_of_table_1_are_those_of_its_categories():
    computed = {(each.cell.dataset, each.cell.loss): each.entries["mean"].value for each in printed_alone(1)}
    stated = {
        (each.dataset, each.loss): each.value
        for each in paper.scores()
        if each.column == "mean" and each.table == 1
    }
    assert len(stated) == 23
    assert computed == {place: approx(value, abs=0.0101) for place, value in stated.items()}


def test_the_paper_alone_is_its_table_1_with_the_suspect_row_marked(tmp_path):
    table = report(tmp_path, "main_table", WANTED, published=True).table
    assert len(table.scored) == 23 and all(each.cell.source == PAPER for each in table.scored)
    lines = (tmp_path / "tables" / "main_table.md").read_text().splitlines()
    suspects = [line for line in lines if "\u2021" in line and line.startswith("|")]
    assert len(suspects) == 1 and suspects[0].startswith("| less_bbh_icl | it | 63.83\u2021 |")
    assert "- \u2021 suspect: equals the untrained model in five categories." in lines
    assert (
        "| lima | it | 63.92 | 58.29 | 71.96 | 16.01 | 39.27 | 43.29 | 48.79 | 4.77 | 33.06 | 2.58 |" in lines
    )


def test_the_paper_s_numbers_stand_below_ours_and_differ_among_themselves():
    ours = [
        base("mmlu", 0.6, model="llama2_7b"),
        row("mmlu", 0.5, model="llama2_7b"),
        row("mmlu", 0.6, model="llama2_7b", loss="im"),
        row("mmlu", 0.6, model="llama2_7b", dataset="mine"),
    ]
    beside = printed(ours)
    table = category_table(ours, name="small", wanted=WANTED, printed=beside)
    assert [(each.cell.dataset, each.cell.loss, each.cell.source) for each in table.scored] == [
        *((None, "none", "ours"), (None, "none", PAPER)),
        *(("lima", "it", "ours"), ("lima", "it", PAPER), ("lima", "im", "ours"), ("lima", "im", PAPER)),
        ("mine", "it", "ours"),
    ]
    differences = [each.differences and each.differences[0].value for each in table.scored]
    assert differences == [None, None, None, None, approx(10), approx(64.49 - 63.92), None]
    assert "| lima | it | ours | 50.00 |" in to_markdown(table)


def test_numbers_of_another_model_or_of_a_part_of_a_dataset_stand_beside_none_of_the_paper():
    other = row("mmlu", 0.5, model="llama2_13b")
    part = row("mmlu", 0.5, model="llama2_7b", subset="random_200")
    assert printed([other, part]) == []


def test_numbers_of_other_tables_go_by_dataset_and_loss():
    found = {(each.dataset, each.loss, each.column): each for each in paper.scores()}
    assert found["lima", "im", "train_bleu_sentence"].value == 17.3
    assert found["lima", "im_neftune", "alpaca_eval_1"].value == 30.77
    assert found["less_mmlu_chat", "it", "train_output_loss_per_example"].value == 0.07
    assert "no KL" in found["lima", "kl_released_1", "mean"].suspect


def test_what_is_known_of_the_paper_s_numbers_is_said_under_them(tmp_path):
    """Only of the columns that are shown."""
    report(tmp_path, "main_table", WANTED, published=True)
    (said,) = [
        line
        for line in (tmp_path / "tables/main_table.md").read_text().splitlines()
        if "that it prints" in line
    ]
    assert "TER, an error rate, counts as a gain in Multilinguality and in Mean" in said
    assert "HumanEval is the better of two temperatures" in said and "GPT-4 judged MT-Bench" in said
    assert "Tulu V2" not in said and "BLEU" not in said


def test_the_paper_s_held_out_losses_stand_beside_none_on_another_set():
    def columns(heldout):
        how = {"task": "heldout", "metric": "output_loss_per_example", "reading_note": f"held out: {heldout}"}
        (its,) = printed([row("losses", 1.5, model="llama2_7b", **how)])
        return set(its.entries)

    assert "heldout_output_loss_per_example" in columns("tulu_v2_10")
    other = columns("mine")
    assert "heldout_output_loss_per_example" not in other and "train_output_loss_per_example" in other


def test_a_sweep_s_own_tables_of_the_paper_stand_alone_too(tmp_path):
    made = report(tmp_path, "kl", Report(baseline="it", reading="corrected", tables=(3, 7)), published=True)
    tables = {path.name: path.read_text() for path in (tmp_path / "tables").glob("*.md")}
    assert sorted(tables) == ["kl_table3.md", "kl_table7.md"]
    assert "In the form of Table 3, whose columns are rows here." in made.table.caption
    assert (
        "|  | kl_released_1 | 49.26\u2021 (\u21910.47) | n/a (n/a) | 0.06\u2021 (\u21932.52) |"
        in tables["kl_table3.md"]
    )
    report(tmp_path, "lengths", Report(baseline="it", reading="corrected", tables=(5,)), published=True)
    table = (tmp_path / "tables/lengths_table5.md").read_text()
    assert "| lima | any | 1030 | 484.47 |" in table
    assert "Model: ." not in table and "No differences" not in table


def test_several_seeds_of_ours_stand_beside_one_of_the_paper(tmp_path):
    ours = [row("mmlu", 0.5, model="llama2_7b", seed=seed) for seed in (0, 1)]
    write_ledger(tmp_path / "scores.jsonl", "small", ours)
    table = report(tmp_path, "small", WANTED, published=True).table
    assert [each.cell.source for each in table.scored].count(PAPER) == 1
