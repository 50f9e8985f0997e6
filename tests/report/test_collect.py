import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from by_hand import base, row, table_of

from im_bench import config
from im_bench.report.collect import read_ledger, rows, write_ledger
from im_bench.scores import Score

KEYS = [
    *(
        "sweep",
        "cell",
        "model",
        "dataset",
        "subset",
        "loss",
        "seed",
        "benchmark",
        "category",
        "task",
        "metric",
    ),
    *(
        "value",
        "stderr",
        "count",
        "total",
        "direction",
        "judge",
        "reading_note",
        "step",
        "examples",
        "ratio",
        "truncated",
        "judge_prompt_tokens",
        "judge_answer_tokens",
        "judge_cost",
        "epoch",
        "source",
        "version",
    ),
]


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "results" / "scores.jsonl"


def test_what_is_written_is_what_is_read(ledger):
    written = [row("mmlu", 0.25, stderr=0.1), row("mt_bench", None, reading_note="no verdict \u2028 at all")]
    write_ledger(ledger, "small", written)
    assert set(read_ledger(ledger)) == set(written)


def test_keys_stand_in_the_order_of_the_design(ledger):
    write_ledger(ledger, "small", [row("mmlu", 0.25)])
    assert list(json.loads(ledger.read_text())) == KEYS


def test_what_a_judge_took_and_where_a_number_is_from_are_kept(ledger):
    billed = row("mt_bench", 5.0, judge_prompt_tokens=1200, judge_answer_tokens=34, judge_cost=0.0125)
    ingested = row("alpaca_eval_1", 50.0, source="published.csv")
    write_ledger(ledger, "small", [billed, ingested])
    assert set(read_ledger(ledger)) == {billed, ingested}


def test_a_ledger_written_before_bills_were_kept_is_still_read(ledger):
    written = row("mmlu", 0.25)
    write_ledger(ledger, "small", [written])
    old = {key: value for key, value in json.loads(ledger.read_text()).items() if key in KEYS[:-5]}
    ledger.write_text(json.dumps(old) + "\n")
    assert read_ledger(ledger) == [written]


OVERLAP = {"name": "overlap", "kind": "overlap"}


@pytest.mark.parametrize("way", [{"pairwise": "ranking"}, {"both_orders": True}])
def test_a_judge_that_compares_in_another_way_does_not_share_a_column(ledger, way):
    plain, other = config.Overlap(**OVERLAP).label, config.Overlap(**OVERLAP, **way).label
    judged = [row("alpaca_eval_2", 5.0, judge=plain), row("alpaca_eval_2", 6.0, loss="im", judge=other)]
    write_ledger(ledger, "small", judged)
    with pytest.raises(config.UserError, match="alpaca_eval_2: scores by different judges") as error:
        table_of(read_ledger(ledger))
    assert f"{plain}, {other}" in str(error.value)


def test_no_ledger_has_no_rows(ledger):
    assert read_ledger(ledger) == []


def test_same_scores_in_any_order_give_the_same_bytes(ledger):
    written = [row("piqa", 0.5), base("mmlu", 0.1), row("mmlu", 0.2, loss="im"), row("mmlu", 0.25)]
    write_ledger(ledger, "small", written)
    first = ledger.read_bytes()
    write_ledger(ledger, "small", reversed(written))
    assert ledger.read_bytes() == first


def test_the_base_model_stands_before_the_datasets(ledger):
    write_ledger(ledger, "small", [row("mmlu", 0.2), base("mmlu", 0.1)])
    assert [each.dataset for each in read_ledger(ledger)] == [None, "lima"]


def test_a_sweep_replaces_its_own_rows_and_keeps_the_others(ledger):
    kept, old, new = row("mmlu", 0.1, sweep="other"), row("mmlu", 0.2), row("piqa", 0.3)
    write_ledger(ledger, "other", [kept])
    write_ledger(ledger, "small", [old])
    write_ledger(ledger, "small", [new])
    assert read_ledger(ledger) == [kept, new]


def test_sweeps_that_write_at_once_lose_nothing(ledger):
    sweeps = [f"sweep_{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda sweep: write_ledger(ledger, sweep, [row("mmlu", 0.1, sweep=sweep)]), sweeps))
    assert [each.sweep for each in read_ledger(ledger)] == sweeps


def test_one_score_twice_with_two_values_is_refused(ledger):
    with pytest.raises(AssertionError, match="stands twice"):
        write_ledger(ledger, "small", [row("mmlu", 0.1), row("mmlu", 0.2)])
    assert not ledger.exists()


@pytest.mark.parametrize("line", [b'{"sweep": "small", "cel', b"[1, 2]", b'"\xff"'])
def test_a_line_that_is_no_row_is_named_by_file_and_line(ledger, line):
    write_ledger(ledger, "small", [row("mmlu", 0.1)])
    ledger.write_bytes(ledger.read_bytes() + line + b"\n")
    with pytest.raises(config.UserError, match=r"scores.jsonl, line 2: the line: .* run its sweep again"):
        read_ledger(ledger)


@pytest.mark.parametrize("wrong", [{"value": "high"}, {"value": math.nan}, {"count": 1.5}, {"surprise": 1}])
def test_a_row_with_a_wrong_value_is_named_by_line_and_key(ledger, wrong):
    write_ledger(ledger, "small", [row("mmlu", 0.1)])
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | wrong) + "\n")
    with pytest.raises(config.UserError, match=rf"scores.jsonl, line 1: {next(iter(wrong))}: "):
        read_ledger(ledger)


def test_a_line_that_stands_twice_or_is_empty_is_no_second_score(ledger):
    """As of ledgers that were put together by hand, or by a merge."""
    write_ledger(ledger, "small", [row("mmlu", 0.1), row("piqa", 0.2)])
    once = read_ledger(ledger)
    ledger.write_text(ledger.read_text() + "\n" + ledger.read_text())
    assert read_ledger(ledger) == once


def test_a_broken_ledger_is_left_as_it_is(ledger):
    ledger.parent.mkdir()
    ledger.write_text("not a row\n")
    with pytest.raises(config.UserError):
        write_ledger(ledger, "small", [row("mmlu", 0.1)])
    assert ledger.read_text() == "not a row\n"


def composed(loss, subset):
    """The part of a cell that the ledger speaks of."""
    return config.Run.model_construct(
        model=config.Model(name="toy", source="toy", chat_template="tulu"),
        dataset=config.Dataset(name="lima", source="local", format="auto", path="lima.jsonl"),
        subset=config.Subset(**subset),
        loss=config.Loss(**loss),
        seed=3,
    )


IT = {"name": "it", "prompt_weight": 0, "output_weight": 1, "template_weight": 0, "average": "example"}
NONE = IT | {"name": "none", "output_weight": 0}
SCORE = Score("mmlu", "knowledge", "mmlu", "acc,none", 0.25, 0.01, 100, 100, "higher")


def test_a_cell_brings_its_score_to_the_ledger_with_its_place():
    run = composed(IT, {"name": "first", "size": 100})
    (line,) = rows(run, [SCORE], sweep="small", cell="toy-lima-it", step="0123abcd", examples=99, ratio=0.1)
    assert line == row(
        "mmlu",
        0.25,
        stderr=0.01,
        count=100,
        total=100,
        seed=3,
        subset="first_100",
        examples=99,
        ratio=0.1,
        cell="toy-lima-it",
    )


def test_the_untrained_model_has_neither_dataset_nor_subset():
    (line,) = rows(
        composed(NONE, {"name": "full"}),
        [SCORE],
        sweep="small",
        cell="toy",
        step="0",
        examples=None,
        ratio=None,
    )
    assert (line.loss, line.dataset, line.subset) == ("none", None, None)
