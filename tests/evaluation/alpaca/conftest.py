"""The files that AlpacaEval's judge is shown beside the answers: written here, and upstream's."""

from pathlib import Path

import pytest
from favours import GOLD, WEAK

from im_bench.data.rows import write_rows


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    write_rows(tmp_path / "gold.jsonl", GOLD)
    write_rows(tmp_path / "weak.json", WEAK)
    return {"references": tmp_path / "weak.json", "gold": tmp_path / "gold.jsonl"}


@pytest.fixture
def real(shared):
    """Real files of upstream, with published scores."""
    return shared / "data/alpaca_eval"
