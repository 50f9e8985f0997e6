"""Rows for the harness's benchmarks, and a model to answer them."""

import pytest
from entries import LARGER

from im_bench.evaluation.engines.hf import Model
from im_bench.toy.hub import hub_tables
from im_bench.toy.hub.tables import write_tables
from im_bench.toy.world import make_world


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """`datasets` takes what it has read of a folder for that of any with the same README, so each module reads anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy world's rows, and a place for what is read of them."""
    folder = tmp_path_factory.mktemp("toy")
    tables = [
        table._replace(rows=table.rows * 5) if table.config in LARGER and table.split == "test" else table
        for table in hub_tables(make_world(0))
    ]
    write_tables(folder / "hub", tables)
    return str(folder / "hub"), str(folder / "rows")


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """The real rows, and a place for what is read of them."""
    return str(shared / "hub"), str(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def small(make_model, tokenizer):
    """A real model with random weights."""
    return Model(make_model(positions=2048).eval(), tokenizer, at_once=32)
