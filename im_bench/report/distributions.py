"""The losses of single examples, read from the steps that the ledger's rows name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from im_bench.report.collect import Row
from im_bench.store import finished

FILE = "losses.parquet"
UNTRAINED = "none"
"""The loss of the base model."""
Place = tuple[str, str | None, str | None]


class ExampleLosses(NamedTuple):
    """Of one model on one set, over output tokens alone."""

    nll_e: NDArray[np.float64]
    """Sum over the tokens of each example, in nats."""
    tokens_e: NDArray[np.int64]
    in_training_e: NDArray[np.bool_]

    @property
    def loss_e(self) -> NDArray[np.float64]:
        """Mean of each example that has output tokens, in nats per token."""
        has_e = self.tokens_e > 0
        return self.nll_e[has_e] / self.tokens_e[has_e]

    @property
    def per_token(self) -> float:
        """Mean over all tokens."""
        return float(self.nll_e.sum() / self.tokens_e.sum())


Losses = dict[str, dict[str, ExampleLosses]]
"""By set, `train` or `heldout`, and by loss."""
_OfLoss = tuple[str, str | None, str | None, str]


def example_losses(rows: Sequence[Row], store: Path) -> dict[Place, Losses]:
    """By model, dataset and subset; all seeds together. Steps whose files are gone are left out.

    So are cells that differ in nothing that a figure shows, nor in the seed: nobody knows which is meant. The base
    model's are with every dataset, for the held-out set is that of all.
    """
    folders, found = finished(store), dict[Place, Losses]()
    bases: dict[str, dict[str, ExampleLosses]] = {}
    for (model, dataset, subset, loss), steps in _steps(rows).items():
        paths = [folders[step] / FILE for step in steps if step in folders]
        for name, own in _read(path for path in paths if path.exists()).items():
            if dataset is None:
                bases.setdefault(model, {})[name] = own
            else:
                found.setdefault((model, dataset, subset), {}).setdefault(name, {})[loss] = own
    for (model, _, _), each in found.items():
        for name, own in bases.get(model, {}).items():
            each.setdefault(name, {})[UNTRAINED] = own
    return found


def in_training(losses: Mapping[str, ExampleLosses]) -> float:
    """Which share of a set stands in the training sets of the models, 0 to 1; the base model has none."""
    each = [own.in_training_e for loss, own in losses.items() if loss != UNTRAINED]
    return float(np.concatenate(each).mean()) if each else 0.0


def _steps(rows: Sequence[Row]) -> dict[_OfLoss, list[str]]:
    """Of every model, dataset, subset and loss that has one step for each seed, these."""
    found: dict[_OfLoss, dict[int, set[str]]] = {}
    for row in rows:
        if row.benchmark == "losses":
            seeds = found.setdefault((row.model, row.dataset, row.subset, row.loss), {})
            seeds.setdefault(row.seed, set()).add(row.step)
    return {
        place: sorted(set.union(*seeds.values()))
        for place, seeds in sorted(found.items(), key=str)
        if all(len(steps) == 1 for steps in seeds.values())
    }


def _read(paths: Iterable[Path]) -> dict[str, ExampleLosses]:
    """By set, the examples of all files."""
    columns = ["output_nll", "output_tokens", "in_training"]
    tables = [parquet.read_table(path, columns=["set", *columns]) for path in paths]
    if not tables:
        return {}
    table = pyarrow.concat_tables(tables)
    set_e = table["set"].to_numpy()
    return {
        name: ExampleLosses(*(table[column].to_numpy()[set_e == name] for column in columns))
        for name in np.unique(set_e).tolist()
    }
