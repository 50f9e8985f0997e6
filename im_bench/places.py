"""Where the files of a run are; `toy` in a path is the toy world, made when it is first asked for."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from im_bench.assets import AssetMissing, file_sha256, find_asset
from im_bench.config import Dataset, Run, Training
from im_bench.data.conversations import file_format
from im_bench.data.published import dataset_file
from im_bench.data.sources import Source
from im_bench.identity import SourceIdentity

TOY_SEED = 0


def world(run: Training) -> Path:
    """The folder of the toy world."""
    return _world((run.paths.results / "toy").resolve())


def hub(run: Training) -> str | None:
    """The folder that stands for the hub, or None for the hub itself."""
    return str(world(run) / "hub") if run.paths.hub == "toy" else run.paths.hub


def rows(run: Run, data_sha256: str) -> str | None:
    """Where rows read from a folder that stands for the hub are kept; the hub's own have their usual cache."""
    return None if run.paths.hub is None else str(run.paths.cache / "rows" / data_sha256[:16])


def asset(run: Training, name: str) -> Path:
    """The file of an asset, see `im_bench.assets.ASSETS`."""
    return find_asset(name, assets_folder(run), run.paths.cache)


def asset_if_there(run: Training, name: str) -> Path | None:
    """The file of an asset that can be done without; None where it cannot be had, which is tried once."""
    return _asset_if_there(name, assets_folder(run), run.paths.cache)


@cache
def _asset_if_there(name: str, folder: str | None, cache: Path) -> Path | None:
    try:
        return find_asset(name, folder, cache)
    except AssetMissing:
        return None


def assets_folder(run: Training) -> str | None:
    """The folder with the files of judged benchmarks, or None where they are fetched."""
    return str(world(run) / "assets") if run.paths.assets == "toy" else run.paths.assets


def sources(run: Training) -> tuple[Source, ...]:
    """The files of the run's dataset: one, or those of the parts of a mixture.

    Raises:
        UserError: when one is missing, cannot be fetched, or is not what it must be.
    """
    if run.dataset.source == "mixture":
        parts = run.dataset.parts.items()
        return tuple(
            _source(run, part.dataset, part.fraction, f"dataset.parts.{name}") for name, part in parts
        )
    return (_source(run, run.dataset, 1.0, "dataset"),)


def _source(run: Training, dataset: Dataset, fraction: float, key: str) -> Source:
    if dataset.source == "toy":
        file = world(run) / "sft" / f"{dataset.name}.jsonl"
    else:
        file = dataset_file(dataset, run.paths.datasets, run.paths.cache, key)
    # Where nothing depends on a row's source, it is the same training whether the source is named or not.
    strata = dataset.only or fraction < 1 or run.subset.name in ("fraction", "stratified")
    spec = SourceIdentity(
        sha256=file_sha256(file),
        format=file_format(file, dataset.format, allow_empty_output=dataset.allow_empty_output),
        fraction=fraction,
        source_field=dataset.source_field if strata else None,
        only=tuple(sorted(set(dataset.only))),
        allow_empty_output=dataset.allow_empty_output,
        on_bad_row=dataset.on_bad_row,
    )
    return Source(name=dataset.name, file=file, spec=spec, num_examples=dataset.num_examples, key=key)


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
