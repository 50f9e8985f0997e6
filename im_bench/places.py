"""Where the files of a run are; `toy` in a path is the toy world, made when it is first asked for."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from im_bench.assets import dataset_file, find_asset
from im_bench.config import Run, Training

TOY_SEED = 0


def world(run: Training) -> Path:
    """The folder of the toy world."""
    return _world((run.paths.results / "toy").resolve())


def hub(run: Run) -> str | None:
    """The folder that stands for the hub, or None for the hub itself."""
    return str(world(run) / "hub") if run.paths.hub == "toy" else run.paths.hub


def rows(run: Run, data_sha256: str) -> str | None:
    """Where rows read from a folder that stands for the hub are kept; the hub's own have their usual cache."""
    return None if run.paths.hub is None else str(run.paths.cache / "rows" / data_sha256[:16])


def asset(run: Run, name: str) -> Path:
    """The file of an asset, see `im_bench.assets.ASSETS`."""
    folder = str(world(run) / "assets") if run.paths.assets == "toy" else run.paths.assets
    return find_asset(name, folder, run.paths.cache)


def conversations(run: Training) -> Path:
    """The file of the run's dataset."""
    if run.dataset.source == "toy":
        return world(run) / "sft" / f"{run.dataset.name}.jsonl"
    return dataset_file(run.dataset, run.paths.cache)


@cache
def _world(folder: Path) -> Path:
    """Written unless it is there; by rename, so a world that exists is whole."""
    from im_bench.toy.files import VERSION, write_world

    place = folder / f"seed{TOY_SEED}-v{VERSION}"
    if not place.exists():
        draft = folder / f".{place.name}.{os.getpid()}"
        write_world(draft, TOY_SEED)
        try:
            draft.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return place
