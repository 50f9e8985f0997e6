"""One toy world on disk, written once."""

from pathlib import Path

import pytest

SEED = 3


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from im_bench.toy.files import write_world

    folder = tmp_path_factory.mktemp("toy")
    write_world(folder, SEED)
    return folder
