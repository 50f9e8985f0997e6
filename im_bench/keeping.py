"""Which trained weights are kept, and for how long: `keep_checkpoints`."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from im_bench.config import UserError
from im_bench.pipeline import Cell
from im_bench.store import Step, Store
from im_bench.training import EPOCHS
from im_bench.work import Follower

WEIGHTS = ("*.safetensors", "*.bin")

log = logging.getLogger(__name__)


class Keeper:
    """Follows a sweep, and drops the weights that its cells no longer need as soon as they do not.

    Weights are needed until every step of the sweep that starts from them has its record, whether in this run or in
    one before. A base model is not trained weights: it stays.
    """

    def __init__(self, cells: Sequence[Cell], store: Store, observer: Follower) -> None:
        self._store, self._observer = store, observer
        self._keep = cells[0].run.keep_checkpoints
        self._trained: dict[str, Step] = {}
        self._needing: dict[str, dict[str, Step]] = defaultdict(dict)
        for cell in cells:
            for step in cell.steps():
                for need in step.needs:
                    if need.kind == "train":
                        self._trained[need.key] = need
                        self._needing[need.key][step.key] = step

    def began(self, key: str) -> None:
        self._observer.began(key)

    def within(self, key: str, done: float, total: float, what: str) -> None:
        self._observer.within(key, done, total, what)

    def ended(self, key: str) -> None:
        self._observer.ended(key)
        for trained, needing in self._needing.items():
            if key in needing:
                self._drop(self._trained[trained])

    def tidy(self) -> None:
        """Drop what no cell needs any longer, whoever scored it."""
        for trained in self._trained.values():
            self._drop(trained)

    def _drop(self, trained: Step) -> None:
        """Where it cannot be done, the disk is fuller and no score is lost."""
        if self._keep == "all":
            return
        try:
            if all(self._store.done(step) for step in self._needing[trained.key].values()):
                self._store.drop(trained, self._unneeded(self._store.path(trained)))
        except (UserError, OSError) as error:
            log.warning("its weights are kept: %s", error)

    def _unneeded(self, folder: Path) -> Iterator[Path]:
        """Weights of all epochs but the last, and of that too where nothing is kept."""
        for pattern in WEIGHTS:
            yield from (folder / EPOCHS).rglob(pattern)
            if self._keep == "until_scored":
                yield from folder.glob(pattern)
