"""Where the files of a run are; `toy` in a path is the toy world, made when it is first asked for.

With `fetch=False` nothing is fetched or made: what is not at hand is where it would be, and `sha256` says of it what
is known. Steps planned so may be looked for in a store, and not run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from im_bench.assets import ASSETS, AssetMissing, file_sha256, find_asset
from im_bench.config import Dataset, Run, Training, UserError
from im_bench.data.conversations import file_format
from im_bench.data.published import dataset_file, file_at_hand
from im_bench.data.sources import Source
from im_bench.identity import SourceIdentity

TOY_SEED = 0
ABSENT = "absent: "
"""What stands in an identity for the hash of a file that is not at hand begins so: no record has it."""


def absent(what: str) -> str:
    """In place of a hash, for what a person knows by this name."""
    return f"{ABSENT}{what}"


def sha256(path: Path, what: str, known: str | None = None) -> str:
    """Of a file; of one that is not at hand what it must be, where that is known."""
    return file_sha256(path) if path.is_file() else known or absent(what)


def check_results(results: Path, *, write: bool = True) -> None:
    """Refuse a place for results that is no folder, or in which nothing can be written.

    Raises:
        UserError: naming the folder above it that is there.
    """
    place = results.absolute()
    there = next(each for each in (place, *place.parents) if os.path.lexists(each))
    try:
        with TemporaryFile(dir=there) if write else os.scandir(there):
            pass
    except OSError as error:
        cannot = "nothing can be written in" if write else "nothing can be read in"
        raise UserError(
            f"paths.results={results}: {cannot} {there} ({error.strerror}); give another folder, paths.results=FOLDER"
        ) from None


def world(run: Training, *, fetch: bool = True) -> Path:
    """The folder of the toy world."""
    return _world(Path(os.path.abspath(run.paths.results / "toy")), fetch)


def hub(run: Training, *, fetch: bool = True) -> str | None:
    """The folder that stands for the hub, or None for the hub itself."""
    return str(world(run, fetch=fetch) / "hub") if run.paths.hub == "toy" else run.paths.hub


def rows(run: Run, data_sha256: str) -> str | None:
    """Where rows read from a folder that stands for the hub are kept; the hub's own have their usual cache."""
    return None if run.paths.hub is None else str(run.paths.cache / "rows" / data_sha256[:16])


def asset(run: Training, name: str, *, fetch: bool = True) -> Path:
    """The file of an asset, see `im_bench.assets.ASSETS`."""
    folder = assets_folder(run, fetch=fetch)
    if fetch:
        return find_asset(name, folder, run.paths.cache)
    return _asset_at_hand(name, folder, run.paths.cache) or Path(folder or run.paths.cache) / name


def asset_if_there(run: Training, name: str, *, fetch: bool = True) -> Path | None:
    """The file of an asset that can be done without; None where it cannot be had, which is tried once.

    What could only be known by fetching it can be had.
    """
    folder = assets_folder(run, fetch=fetch)
    if fetch:
        return _asset_if_there(name, folder, run.paths.cache)
    return asset(run, name, fetch=False) if folder is None else _asset_at_hand(name, folder, run.paths.cache)


def asset_sha256(run: Training, name: str, path: Path) -> str:
    """Of the file of an asset; of one that will be fetched, what it must be."""
    return sha256(path, name, ASSETS[name].sha256 if run.paths.assets is None else None)


def _asset_at_hand(name: str, folder: str | None, cache: Path) -> Path | None:
    if folder is None:
        fetched = cache / f"{name}{Path(ASSETS[name].address).suffix}"
        return fetched if fetched.is_file() else None
    try:
        return find_asset(name, folder, cache)
    except UserError:
        return None


@cache
def _asset_if_there(name: str, folder: str | None, cache: Path) -> Path | None:
    try:
        return find_asset(name, folder, cache)
    except AssetMissing:
        return None


def assets_folder(run: Training, *, fetch: bool = True) -> str | None:
    """The folder with the files of judged benchmarks, or None where they are fetched."""
    return str(world(run, fetch=fetch) / "assets") if run.paths.assets == "toy" else run.paths.assets


def sources(run: Training, *, key: str = "dataset", fetch: bool = True) -> tuple[Source, ...]:
    """The files of the run's dataset: one, or those of the parts of a mixture.

    Args:
        key: where the user says it.

    Raises:
        UserError: when one is missing, cannot be fetched, or is not what it must be.
    """
    if run.dataset.source == "mixture":
        parts = run.dataset.parts.items()
        return tuple(
            _source(run, part.dataset, part.fraction, f"{key}.parts.{name}", fetch) for name, part in parts
        )
    return (_source(run, run.dataset, 1.0, key, fetch),)


def absent_files(run: Training, *, key: str = "dataset") -> Iterator[str]:
    """Paths of the run's dataset at which there is no file, also where its content is known; `key` as of `sources`."""
    parts = [(f"{key}.parts.{name}", part.dataset) for name, part in run.dataset.parts.items()]
    for said, dataset in parts or [(key, run.dataset)]:
        if dataset.path and not Path(dataset.path).is_file():
            yield _what(dataset, said)


def _what(dataset: Dataset, key: str) -> str:
    return f"{key}.path={dataset.path}" if dataset.path else f"dataset {dataset.name}"


def _source(run: Training, dataset: Dataset, fraction: float, key: str, fetch: bool) -> Source:
    mirror, cache = run.paths.datasets, run.paths.cache
    if dataset.source == "toy":
        file = world(run, fetch=fetch) / "sft" / f"{dataset.name}.jsonl"
    elif fetch or file_at_hand(dataset, mirror, cache):
        file = dataset_file(dataset, mirror, cache, key)
    else:
        file = Path(dataset.path or dataset.name)
    format = dataset.format
    if file.is_file():
        format = file_format(file, dataset.format, allow_empty_output=dataset.allow_empty_output)
    # Where nothing depends on a row's source, it is the same training whether the source is named or not.
    strata = dataset.only or fraction < 1 or run.subset.name in ("fraction", "stratified")
    spec = SourceIdentity(
        sha256=sha256(file, _what(dataset, key), dataset.sha256 if format != "auto" else None),
        format="messages" if format == "auto" else format,
        fraction=fraction,
        source_field=dataset.source_field if strata else None,
        only=tuple(sorted(set(dataset.only))),
        allow_empty_output=dataset.allow_empty_output,
        on_bad_row=dataset.on_bad_row,
    )
    return Source(name=dataset.name, file=file, spec=spec, num_examples=dataset.num_examples, key=key)


@cache
def _world(folder: Path, make: bool) -> Path:
    """Written unless it is there; by rename, so a world that exists is whole."""
    from im_bench.toy.files import VERSION, write_world

    place = folder / f"seed{TOY_SEED}-v{VERSION}"
    if make and not place.exists():
        check_results(folder.parent)
        draft = folder / f".{place.name}.{os.getpid()}"
        write_world(draft, TOY_SEED)
        try:
            draft.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return place
