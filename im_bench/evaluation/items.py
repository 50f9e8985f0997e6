"""The texts of benchmarks' test items, from folders that have them; for looking whether training data holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from im_bench.assets import find_asset
from im_bench.config import UserError
from im_bench.data.contamination import GRAM, Item, words
from im_bench.data.rows import numbered_rows
from im_bench.evaluation.benchmarks import BENCHMARKS

SCORED = ("test", "validation")
"""Splits that hold items which are scored; `train` and `dev` hold examples that are shown."""
ASKED = {"mt_bench": "mt_bench/question", "alpaca_eval_1": "alpaca_eval/reference_outputs_v1"}
"""Files of questions; both versions of AlpacaEval ask the same."""


def test_items(hub: str | None, assets: str | None) -> list[Item]:
    """Every text of at least eight words in the test rows that are at hand, each once for a benchmark.

    Args:
        hub: a folder in hub layout, or None.
        assets: a folder with the files of the judged benchmarks, or None.

    Raises:
        UserError: when a folder is not there, or a file of it cannot be read.
    """
    for key, folder in (("paths.hub", hub), ("paths.assets", assets)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"{key}={folder}: there is no such folder")
    found = dict.fromkeys(_hub_items(Path(hub))) if hub else {}
    if assets:
        found |= dict.fromkeys(_asked_items(assets))
    return list(found)


def _hub_items(hub: Path) -> Iterator[Item]:
    for name, entry in BENCHMARKS.items():
        for dataset in entry.datasets:
            repository, _, configs = dataset.partition(":")
            for file in _files(hub / repository, configs.split(",") if configs else []):
                for _, _, row in numbered_rows(file):
                    yield from _items(name, row)


def _files(folder: Path, configs: list[str]) -> Iterator[Path]:
    """Data files of the scored splits of these configs, or of all; as the front matter of README.md names them."""
    for config in _front_matter(folder / "README.md").get("configs", []):
        if not configs or config.get("config_name") in configs:
            for pattern in _patterns(config.get("data_files")):
                yield from sorted(file for file in folder.glob(pattern) if file.is_file())


def _front_matter(readme: Path) -> dict[str, Any]:
    front = readme.read_text(encoding="utf-8").split("---")[1:2] if readme.is_file() else []
    try:
        values = yaml.safe_load("".join(front))
    except yaml.YAMLError as error:
        raise UserError(f"{readme}: its front matter is not YAML: {' '.join(str(error).split())}") from None
    return values if isinstance(values, dict) else {}


def _patterns(files: Any) -> Iterator[str]:
    """Of scored splits; files without a named split are the hub's `train`."""
    for each in files if isinstance(files, list) else []:
        if isinstance(each, dict) and each.get("split") in SCORED:
            path = each.get("path", [])
            yield from [path] if isinstance(path, str) else path


def _asked_items(assets: str) -> Iterator[Item]:
    for name, asset in ASKED.items():
        try:
            file = find_asset(asset, assets, Path())
        except UserError:
            continue  # the folder has the other benchmark's files only
        for _, _, row in numbered_rows(file):
            yield from _items(name, {field: row[field] for field in ("turns", "instruction") if field in row})


def _items(benchmark: str, value: Any) -> Iterator[Item]:
    if isinstance(value, str):
        if len(words(value)) >= GRAM:
            yield Item(benchmark, value)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _items(benchmark, each)
