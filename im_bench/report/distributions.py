"""The losses of single examples, read from the steps that the ledger's rows name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
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


def example_losses(rows: Sequence[Row], store: Path) -> dict[Place, Losses]:
    """By model, dataset and subset; all seeds together. Steps whose files are gone are left out.

    The base model's are with every dataset, for the held-out set is that of all.
    """
    steps = {
        (row.model, row.dataset, row.subset, row.loss, row.step) for row in rows if row.benchmark == "losses"
    }
    folders, found = finished(store), dict[Place, Losses]()
    bases: dict[str, list[tuple[str, ExampleLosses]]] = {}
    for model, dataset, subset, loss, step in sorted(steps, key=str):
        if step in folders and (path := folders[step] / FILE).exists():
            for name, own in _read(path).items():
                if dataset is None:
                    bases.setdefault(model, []).append((name, own))
                    continue
                losses = found.setdefault((model, dataset, subset), {}).setdefault(name, {})
                losses[loss] = _joined(losses[loss], own) if loss in losses else own
    for (model, _, _), each in found.items():
        for name, own in bases.get(model, []):
            each.setdefault(name, {})[UNTRAINED] = own
    return found


def _read(path: Path) -> dict[str, ExampleLosses]:
    table = parquet.read_table(path, columns=["set", "output_nll", "output_tokens"]).to_pydict()
    set_e, nll_e, tokens_e = (np.asarray(table[name]) for name in ("set", "output_nll", "output_tokens"))
    return {
        name: ExampleLosses(nll_e[set_e == name], tokens_e[set_e == name])
        for name in np.unique(set_e).tolist()
    }


def _joined(first: ExampleLosses, second: ExampleLosses) -> ExampleLosses:
    return ExampleLosses(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
