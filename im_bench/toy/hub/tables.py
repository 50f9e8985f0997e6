"""A table of benchmark rows, and how it lies in a folder of hub layout."""

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

Item = TypeVar("Item")
Row = dict[str, Any]


class Table(NamedTuple):
    repo: str
    config: str
    split: str
    features: Features
    rows: list[Row]

    @property
    def path(self) -> str:
        return f"{self.config}/{self.split}-00000-of-00001.parquet"


def distinct(draw: Callable[[Random], Item], rng: Random, count: int, seen: set[str]) -> list[Item]:
    """`count` draws that differ from each other and from `seen`, which grows by them."""
    items: list[Item] = []
    for _ in range(1000 * count):
        if len(items) == count:
            return items
        item = draw(rng)
        if str(item) not in seen:
            seen.add(str(item))
            items.append(item)
    raise AssertionError(f"fewer than {count} different items to draw")


def splits(draw: Callable[[Random], Item], rng: Random, **counts: int) -> dict[str, list[Item]]:
    """Disjoint draws for each split."""
    seen: set[str] = set()
    return {split: distinct(draw, rng, count, seen) for split, count in counts.items()}


def write_tables(folder: Path, tables: Iterable[Table]) -> None:
    """Parquet files with the features in their metadata, and a README that names the configs."""
    repos: dict[str, list[Table]] = {}
    for table in tables:
        repos.setdefault(table.repo, []).append(table)
        path = folder / table.repo / table.path
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table.rows, schema=table.features.arrow_schema), path)
    for repo, members in repos.items():
        (folder / repo / "README.md").write_text(front_matter(members))


def front_matter(tables: list[Table]) -> str:
    configs = list(dict.fromkeys(table.config for table in tables))
    lines = ["---", "configs:"]
    for config in configs:
        lines.append(f"- config_name: {config}")
        # The hub's loader takes the only config of a dataset when a task names none.
        lines += ["  default: true"] if len(configs) == 1 and config != "default" else []
        lines.append("  data_files:")
        for table in tables:
            if table.config == config:
                lines += [f"  - split: {table.split}", f"    path: {table.path}"]
    return "\n".join([*lines, "---", ""])
