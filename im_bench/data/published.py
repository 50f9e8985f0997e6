"""The file of a dataset: one of the user's, a copy in a folder, or fetched from its address or the hub; and checked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from functools import cache as remembered
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from im_bench.assets import check_sha256, fetch, folder_sha256, offline_unless_reachable
from im_bench.config import Dataset, UserError

LOCAL_COPY = "{}.path=FILE or paths.datasets=FOLDER can serve a local copy"
log = logging.getLogger(__name__)


def dataset_file(dataset: Dataset, mirror: str | None, cache: Path, key: str = "dataset") -> Path:
    """The local file of a dataset, its content checked where it is known.

    From its path, or else from `mirror` (paths.datasets), or else fetched into `cache`.

    Args:
        key: what a person says of the dataset begins with this.

    Raises:
        UserError: when it is missing, cannot be fetched, is gated, or is another file than it must be.
    """
    if dataset.path is not None:
        path = Path(dataset.path)
        if not path.is_file():
            raise UserError(
                f"{key}.path={path}: {'is a folder; name a file' if path.is_dir() else 'there is no such file'}"
            )
        _check_dataset(path, dataset, f"{key}.path={path}")
        return path
    if mirror is not None and not Path(mirror).is_dir():
        raise UserError(f"paths.datasets={mirror}: there is no such folder")
    if dataset.source == "hub":
        path = _hub_rows(dataset, mirror, cache, key)
    else:
        assert dataset.address is not None
        copy = _mirrored(dataset, mirror)
        if copy is None:
            place, remedy = _place(dataset, mirror, cache), LOCAL_COPY.format(key)
            check = partial(_check_dataset, dataset=dataset, what=dataset.address)
            return fetch(dataset.address, place, dataset.sha256, remedy=remedy, check=check)
        path = copy
    _check_dataset(path, dataset, str(path))
    return path


def at_hand(dataset: Dataset, mirror: str | None, cache: Path) -> Path | None:
    """Where `dataset_file` would find the dataset without fetching it, or None."""
    if dataset.path is not None:
        found: Path | None = Path(dataset.path)
    else:
        found = _mirrored(dataset, mirror) or _place(dataset, mirror, cache)
    return found if found and found.exists() else None


def file_at_hand(dataset: Dataset, mirror: str | None, cache: Path) -> Path | None:
    """The file that `dataset_file` would give without fetching or writing anything, or None."""
    found = at_hand(dataset, mirror, cache)
    if dataset.path is None and dataset.source == "hub":
        found = _place(dataset, mirror, cache)  # of a copy in hub layout, the rows are written there first
    return found if found and found.is_file() else None


def _mirrored(dataset: Dataset, mirror: str | None) -> Path | None:
    """The copy of a dataset in paths.datasets: a file, or a folder in hub layout."""
    copy = Path(mirror or "") / (dataset.id or Path(dataset.address or "").name)
    return copy if mirror and copy.exists() else None


def _place(dataset: Dataset, mirror: str | None, cache: Path) -> Path:
    """Where the fetched file is, or the rows of a hub dataset as JSON lines."""
    if dataset.source != "hub":
        # Two addresses' files of one name lie apart.
        address = dataset.address or ""
        return cache / "datasets" / hashlib.sha256(address.encode()).hexdigest()[:8] / Path(address).name
    assert dataset.id is not None
    copy = _mirrored(dataset, mirror)
    version = folder_sha256(copy)[:16] if copy else dataset.revision or "main"
    parts = [dataset.id, dataset.config, version, dataset.split]
    return cache / "datasets" / f"{'-'.join(quote(part, safe='') for part in parts if part)}.jsonl"


def _check_dataset(path: Path, dataset: Dataset, what: str) -> None:
    check_sha256(path, dataset.sha256, what)
    if dataset.git_blob is not None and _git_blob(path) != dataset.git_blob:
        raise UserError(
            f"{what}: git names its content {_git_blob(path)}, but it must be {dataset.git_blob}; "
            "it is not the file that was published"
        )


def _git_blob(path: Path) -> str:
    """The name that git gives to a file's bytes; remembered while the file does not change."""
    stat = path.stat()
    return _blob(path, stat.st_size, (stat.st_dev, stat.st_ino, stat.st_mtime_ns))


@remembered
def _blob(path: Path, size: int, stat: tuple[int, ...]) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hub_rows(dataset: Dataset, mirror: str | None, cache: Path, key: str) -> Path:
    """The rows of a hub dataset as JSON lines, equal bytes for equal rows; written by rename."""
    assert dataset.id is not None
    to, copy = _place(dataset, mirror, cache), _mirrored(dataset, mirror)
    place, revision = (str(copy), None) if copy else (dataset.id, dataset.revision)
    if not to.exists():
        rows = _load_rows(dataset, place, revision, to.parent / "arrow" / to.stem, key)
        to.parent.mkdir(parents=True, exist_ok=True)
        draft = to.with_name(f"{to.name}.{os.getpid()}.draft")
        with draft.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str) + "\n")
        draft.replace(to)
    return to


def _load_rows(
    dataset: Dataset, place: str, revision: str | None, cache: Path, key: str
) -> Iterable[dict[str, Any]]:
    offline_unless_reachable()
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    log.info("fetching %s of the hub", dataset.id)
    try:
        # A cache of its own: a folder is known there by its name, whatever it holds.
        return load_dataset(
            place, name=dataset.config, revision=revision, split=dataset.split, cache_dir=str(cache)
        )
    except (DatasetsError, OSError, ValueError) as error:
        if "gated" in f"{error} {error.__cause__}".lower():
            raise UserError(
                f"dataset={dataset.name}: {dataset.id} is gated; ask for access on its page at "
                f"https://huggingface.co/datasets/{dataset.id} and log in with `hf auth login` (or set HF_TOKEN), "
                f"or {LOCAL_COPY.format(key)}"
            ) from None
        raise UserError(
            f"dataset={dataset.name}: {dataset.id} could not be fetched ({_first_line(error)}); "
            f"{LOCAL_COPY.format(key)}"
        ) from None


def _first_line(error: BaseException) -> str:
    """Of what an error says, or of its cause where it says nothing of its own."""
    said = f"{error.__cause__ or error}".strip() or type(error).__name__
    return said.splitlines()[0]
