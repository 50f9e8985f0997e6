"""Differences of losses and of memorisation, over the same conversations."""

import pandas
import pytest
from by_hand import row
from kept_items import keep

from im_bench.config import Report
from im_bench.report.comparisons import by_cell, compared
from im_bench.report.measures import of_analyses
from im_bench.report.tables import cell_table
from im_bench.store import RECORD

WANTED = Report(baseline="it", reading="corrected")
TOKENS = [2, 4, 6, 8, 10, 12]


def keep_losses(results, step, nll, *, new=()):
    """Per conversation of the held-out set its summed loss; those of `new` stand in no training set."""
    folder = results / "store" / "analysis" / f"toy-{step}"
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}")
    rows = [
        {
            "set": "heldout",
            "example": f"mine/{number}",
            "output_nll": each,
            "output_tokens": tokens,
            "instruction_nll": 1.0,
            "instruction_tokens": 0,
            "output_kl": each / 2,
            "in_training": number not in new,
        }
        for number, (each, tokens) in enumerate(zip(nll, TOKENS, strict=True))
    ]
    pandas.DataFrame(rows).to_parquet(folder / "losses.parquet")


def losses(metric, it, im, task="heldout"):
    return [
        row("losses", value, loss=loss, task=task, metric=metric, step=f"{loss}losses", direction="lower")
        for loss, value in (("it", it), ("im", im))
    ]


@pytest.fixture
def kept(tmp_path):
    """IM's loss is one nat more on every conversation, whatever its length."""
    it = [2.0, 3.0, 9.0, 8.0, 20.0, 10.0]
    keep_losses(tmp_path, "itlosses", it, new=(0, 1, 2))
    keep_losses(tmp_path, "imlosses", [each + 1 for each in it], new=(0, 1, 2))
    return tmp_path / "store"


def found(rows, store):
    return {each.column.id: each.found for each in compared(rows, store, WANTED) if each.family == "analyses"}


def test_a_loss_per_token_is_a_ratio_of_sums_and_one_per_example_a_mean(kept):
    rows = losses("output_loss_per_token", 52 / 42, 58 / 42) + losses("output_loss_per_example", 1.3, 1.5)
    known = found(rows, kept)
    assert known["heldout_output_loss_per_token"].difference == pytest.approx(6 / 42)
    mean = sum(1 / tokens for tokens in TOKENS) / 6
    assert known["heldout_output_loss_per_example"].difference == pytest.approx(mean)
    assert known["heldout_output_loss_per_example"].items == 6


def test_kl_is_over_output_tokens(kept):
    known = found(losses("output_kl_per_token", 26 / 42, 29 / 42), kept)
    assert known["heldout_output_kl_per_token"].difference == pytest.approx(3 / 42)


def test_what_training_does_not_hold_is_compared_by_itself(kept):
    rows = losses("output_loss_per_token", 14 / 12, 17 / 12, task="heldout_new") + losses("overlap", 0.5, 0.5)
    known = found(rows, kept)
    assert known["heldout_new_output_loss_per_token"].items == 3
    assert known["heldout_new_output_loss_per_token"].difference == pytest.approx(3 / 12)


def test_conversations_without_an_instruction_have_no_part_in_its_loss(kept):
    assert (
        found(losses("instruction_loss_per_token", None, None), kept)["heldout_instruction_loss_per_token"]
        is None
    )


def test_answers_are_compared_by_sentence_bleu_and_the_corpus_is_not(tmp_path):
    rows = []
    for loss, outcome in (("it", 0.5), ("im", 0.25)):
        keep(tmp_path, loss, [outcome, outcome, 0.0], task="train", exact=False, eight_grams=outcome)
        for metric, value in (
            ("bleu_corpus", 40.0),
            ("bleu_sentence", 100 * outcome * 2 / 3),
            ("exact", 0.0),
        ):
            rows.append(row("memorisation", value, loss=loss, task="train", metric=metric, step=loss))
    known = found(rows, tmp_path / "store")
    assert known["train_bleu_sentence"].difference == pytest.approx(-100 * 0.25 * 2 / 3)
    assert known["train_exact"].p == 1
    assert known["train_bleu_corpus"] is None


def test_the_table_says_how_many_differences_are_tested(kept):
    rows = losses("output_loss_per_token", 52 / 42, 58 / 42) + losses("overlap", 0.5, 0.5)
    tests = by_cell(compared(rows, kept, WANTED))
    table = cell_table(rows, of_analyses(rows), name="small", wanted=WANTED, tests=tests)
    assert any("(1 of 2 are tested)" in sentence for sentence in table.caption)
    assert table.scored[1].differences[0].significant
