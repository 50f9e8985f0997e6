"""What a scoring step keeps of its items."""

import math

import pyarrow
import pyarrow.parquet
import pytest

from im_bench.config import UserError
from im_bench.items import FILE, read_items, read_outcomes, write_items

ITEM = {
    "task": "piqa",
    "item": "a",
    "stratum": "",
    "cluster": None,
    "outcome": 1.0,
    "size": 1.0,
    "question": "why?",
    "answer": "because",
    "target": "because",
    "verdict": None,
}


def test_what_is_written_is_read_and_what_others_keep_besides_is_left(tmp_path):
    items = [ITEM, ITEM | {"item": "b", "outcome": None, "cluster": "c"}]
    write_items(tmp_path, [each | {"responses": "[1, 2]"} for each in items])
    assert read_items(tmp_path) == items
    found = read_outcomes(tmp_path)
    assert (found.item, found.cluster, found.size.tolist()) == (["a", "b"], [None, "c"], [1.0, 1.0])
    assert found.outcome[0] == 1.0 and math.isnan(found.outcome[1])


def test_items_without_a_single_outcome_or_cluster_are_read_too(tmp_path):
    write_items(tmp_path, [ITEM | {"outcome": None}])
    assert math.isnan(read_outcomes(tmp_path).outcome[0])


def test_one_metric_of_several_can_be_read(tmp_path):
    write_items(
        tmp_path, [ITEM | {"metric": f"pass@1,temperature={each}", "outcome": each} for each in (0.1, 0.7)]
    )
    assert read_outcomes(tmp_path, "pass@1,temperature=0.7").outcome.tolist() == [0.7]
    assert [each["metric"] for each in read_items(tmp_path)][1] == "pass@1,temperature=0.7"


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    (tmp_path / FILE).write_bytes(b"PAR1 and no more")
    for read in (read_items, read_outcomes):
        with pytest.raises(
            UserError, match=r"items.parquet: cannot be read .*; delete its folder and run the sweep"
        ):
            read(tmp_path)


def test_a_file_of_an_older_form_has_no_items_to_look_at_and_none_to_test(tmp_path):
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"task": "piqa", "outcome": 1.0}]), tmp_path / FILE
    )
    assert read_items(tmp_path) == []
    with pytest.raises(UserError, match=r"items.parquet: cannot be read"):
        read_outcomes(tmp_path)
