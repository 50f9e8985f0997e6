"""Results of a small cell."""

from pathlib import Path

import pytest
from small_cell import words

from im_bench.cli import main


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Of one cell with loss=it, run to its end."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["run", *words(given, folder, "loss=it")]) == 0
    return folder
