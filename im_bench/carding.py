"""Giving every trained checkpoint its card, with all scores that the ledger has of it."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from im_bench.analysis.measures import LENGTHS
from im_bench.assets import ASSETS, WEIGHTS
from im_bench.config import Run
from im_bench.data.labels import LABELS
from im_bench.pipeline import Cell
from im_bench.report.cards import Made, Scored, card, write_card
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import RECORD, Store, finished
from im_bench.training import EPOCHS, TOTALS

Identity = Mapping[str, Any]
"""Of a step, as its record has it."""
OFFICIAL = "official"
"""See `im_bench.assets.benchmark_data_sha256`."""

log = logging.getLogger(__name__)


def write_cards(cells: Sequence[Cell], store: Store) -> None:
    """Write the card of every trained checkpoint of the cells whose weights are there.

    A checkpoint that several sweeps share has the scores of all of them. Where a card cannot be written, that is told
    and nothing else is lost.

    Raises:
        UserError: when the ledger cannot be read.
    """
    trained = [
        cell
        for cell in cells
        # Whoever makes it again just now writes its card when that is done.
        if cell.run.loss.trains and store.done(cell.checkpoint) and not store.locked(cell.checkpoint)
    ]
    if not trained:
        return
    scored = _scored(read_ledger(trained[0].run.paths.results / FILE), store.root)
    for (folder, epoch), (run, cell) in _checkpoints(trained, store).items():
        place = folder / EPOCHS / str(epoch) if epoch else folder
        if any(any(place.glob(pattern)) for pattern in WEIGHTS):
            try:
                write_card(
                    place, card(run, scored.get((cell.checkpoint.key, epoch), []), _made(cell, folder))
                )
            except OSError as error:
                log.warning("%s has no card of what is known now: %s", place, error)


def _checkpoints(cells: Sequence[Cell], store: Store) -> dict[tuple[Path, int | None], tuple[Run, Cell]]:
    """The checkpoints of the cells by folder and epoch, None being the last; that one is there whoever is scored."""
    found: dict[tuple[Path, int | None], tuple[Run, Cell]] = {}
    for cell in cells:
        folder = store.path(cell.checkpoint)
        found.setdefault((folder, None), (cell.run.model_copy(update={"epoch": None}), cell))
        found.setdefault((folder, cell.run.scored_epoch), (cell.run, cell))
    return found


def _made(cell: Cell, folder: Path) -> Made:
    identity = cell.checkpoint.identity["config"]
    (base,) = cell.checkpoint.needs
    record, labels, training = (json.loads((folder / name).read_text()) for name in (RECORD, LABELS, TOTALS))
    return Made(
        cell.label, cell.checkpoint.key, identity, base.identity["config"], record["made"], labels, training
    )


def _scored(rows: Iterable[Row], root: Path) -> dict[tuple[str, int | None], list[Scored]]:
    """The rows of every trained checkpoint, by the key of its training and the epoch, None being the last.

    Names do not tell checkpoints apart, as two may differ in what no name says; so each row is followed from its step
    back to the training. One whose step has no record any more is nobody's.
    """
    read = cache(partial(_identity, finished(root)))
    found: dict[tuple[str, int | None], list[Scored]] = defaultdict(list)
    for row in rows:
        if row.benchmark == LENGTHS:  # the card says them of its training data
            continue
        made_from = list(_made_from(row.step, read))
        training = next((key for key, identity in made_from if identity["kind"] == "train"), None)
        if training is not None:
            configs = [identity["config"] for _, identity in made_from if identity["kind"] != "train"]
            epoch = next((config["epoch"] for config in configs if "epoch" in config), None)
            found[training, epoch].append(Scored(row, _asked(configs), _local_data(row.benchmark, configs)))
    return found


def _made_from(step: str, read: Callable[[str], Identity | None]) -> Iterator[tuple[str, Identity]]:
    """The keys and identities of a step and of what it was made from, back to the training."""
    identity = read(step)
    if identity is None:
        return  # it is not in this store: ingested, or deleted
    yield step, identity
    if identity["kind"] != "train":
        for need in identity["needs"]:
            yield from _made_from(need, read)


def _identity(folders: Mapping[str, Path], step: str) -> Identity | None:
    try:
        return json.loads((folders[step] / RECORD).read_text())["identity"]
    except (KeyError, ValueError, OSError):
        return None


def _asked(configs: Sequence[Mapping[str, Any]]) -> str:
    """How a benchmark was asked, by the identities of its steps: what is not as everywhere."""
    known = {
        name: value
        for config in configs
        for name, value in (config | config.get("spec", {})).items()
        if value is not None
    }
    words = {
        "shots": "{} shots",
        "prompt": "{} prompt",
        "samples": "{} programs for each problem",
        "limit": "first {} of each task",
        "max_new_tokens": "answers of at most {} tokens",
        "engine": "engine {}",
        "context": "context of {} tokens",
    }
    return ", ".join(said.format(known[name]) for name, said in words.items() if name in known)


def _local_data(benchmark: str, configs: Sequence[Mapping[str, Any]]) -> str | None:
    """The beginning of the sha256 of what a benchmark was read from, if that is not what im-bench fetches."""
    family = "mt_bench" if benchmark == "mt_bench" else "alpaca_eval"
    for config in configs:
        if config.get("data_sha256", OFFICIAL) != OFFICIAL:
            return config["data_sha256"][:8]
        for name, sha256 in sorted(config.get("assets_sha256", {}).items()):
            if ASSETS[f"{family}/{name}"].sha256 != sha256:
                return sha256[:8]
    return None
