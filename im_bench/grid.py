"""The cells of a sweep in words: axes, their product, what is left out; and that no two cells share a name.

A sweep file has its axes in `hydra.sweeper.params`, and in a block of its own those whose keys walk together, and
what is left out:

    sweep:
      zip:
        - {loss: [it, kl, kl], loss.kl_weight: [0, 0.01, 1], loss.name: [it, kl_0.01, kl_1]}
      exclude:
        - {dataset: lima, loss.name: [kl_0.01, kl_1]}
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from im_bench.config import Run, UserError, load_yaml


class Said(NamedTuple):
    """What a cell says of one key."""

    key: str
    text: str
    """As Hydra reads it, e.g. `loss=im`."""
    value: Any
    plain: bool
    """Whether it puts one word or number where another was."""


Row = tuple[Said, ...]
"""A point of an axis, or a whole cell."""
Points = Callable[[str, Any], list[Said]]
"""What a key and its values in YAML say, one after the other."""
Exclusion = Mapping[str, Sequence[Any]]
"""A cell that has of each key one of its values is left out."""


class Axis(NamedTuple):
    """Points, of which each cell takes one; all are of the same keys."""

    place: str
    """Where the user says it."""
    rows: Sequence[Row]

    @property
    def keys(self) -> list[str]:
        return [said.key for said in self.rows[0]]


def axis(place: str, rows: Sequence[Row]) -> Axis:
    """An axis.

    Raises:
        UserError: when it has no point, or one twice.
    """
    if not rows:
        raise UserError(f"{place}: there is no value, and so no cell; give one, or leave the key out")
    seen = set()
    for row in rows:
        values = str([said.value for said in row])
        if values in seen:
            raise UserError(
                f"{place}: {' '.join(texts(row))} is there twice, and would be the same cell; leave one out"
            )
        seen.add(values)
    return Axis(place, rows)


def texts(row: Row) -> list[str]:
    """The overrides of a cell."""
    return [said.text for said in row]


def cells(file: Path, given: Sequence[Axis], points: Points) -> list[Row]:
    """What each cell of a sweep file overrides; the last axis varies fastest.

    Args:
        given: on the command line, each of one key: in the place of the file's axis of that key, or choosing points
            of an axis whose keys walk together.

    Raises:
        UserError: when the file is wrong, or when no cell is left.
    """
    values = load_yaml(file)
    defaults = values.get("defaults")
    if not isinstance(defaults, list):
        said = "has no defaults" if defaults is None else f"defaults is {defaults!r}, but must be a list"
        raise UserError(
            f"{file}: {said}; a sweep begins with `defaults: [config, _self_]`, as sweeps/demo.yaml"
        )
    block = _keys_of(file, values, "sweep")
    for key in block.keys() - {"zip", "exclude"}:
        raise UserError(f"{file}: sweep.{key}: there is no such key; there are exclude and zip")
    params = _params(file, values, points)
    zips = [_zip(file, entry, points) for entry in _entries(file, block, "zip")]
    _check_owners([*params, *zips])
    known = _known([*params, *zips, *given])
    exclude = [_exclusion(file, entry, known, points) for entry in _entries(file, block, "exclude")]
    found = [
        cell for cell in _product(params, zips, given) if not any(_matches(cell, each) for each in exclude)
    ]
    if not found:
        raise UserError(
            f"{file}: sweep.exclude leaves no cell; take an entry out of it, or give other values"
        )
    return found


def _product(params: Sequence[Axis], zips: Sequence[Axis], given: Sequence[Axis]) -> Iterator[Row]:
    zipped = {key for each in zips for key in each.keys}
    instead = {each.keys[0]: each for each in given if each.keys[0] not in zipped}
    axes = {each.keys[0]: each for each in params}
    alone = [each for key, each in instead.items() if key not in axes]
    chosen = [_chosen(each, given) for each in zips]
    rows = [each.rows for each in (*(instead.get(key, each) for key, each in axes.items()), *chosen, *alone)]
    return (tuple(itertools.chain(*points)) for points in itertools.product(*rows))


def _chosen(zipped: Axis, given: Sequence[Axis]) -> Axis:
    """The points of an axis that have a value given for each of their keys that one is given for."""
    rows = zipped.rows
    for each in given:
        if each.keys[0] in zipped.keys:
            column = zipped.keys.index(each.keys[0])
            rows = [row for row in rows if _among(row[column].value, [said.value for (said,) in each.rows])]
            if not rows:
                known = ", ".join(dict.fromkeys(str(row[column].value) for row in zipped.rows))
                raise UserError(
                    f"{each.place}: {zipped.place} has no such point; its {each.keys[0]} is one of {known}"
                )
    return Axis(zipped.place, rows)


def _matches(cell: Row, exclusion: Exclusion) -> bool:
    said = {each.key: each.value for each in cell}
    return all(_among(said[key], values) for key, values in exclusion.items())


def _among(value: Any, values: Sequence[Any]) -> bool:
    """Whether it is one of `values`; 1 is 1.0, and also '1'."""
    return any(value == each or str(value) == str(each) for each in values)


# --- the file ---


def _params(file: Path, values: dict[str, Any], points: Points) -> list[Axis]:
    for key in ("hydra", "sweeper"):
        values = _keys_of(file, values, key)
    for key in values.keys() - {"params"}:
        raise UserError(f"{file}: hydra.sweeper.{key}: there is no such key; the axes are in params")
    values = _keys_of(file, values, "params")
    # A list is here one value, as on the command line.
    said = {key: points(key, [value] if isinstance(value, list) else value) for key, value in values.items()}
    return [axis(f"{file}: {key}", [(each,) for each in found]) for key, found in said.items()]


def _zip(file: Path, entry: dict[str, Any], points: Points) -> Axis:
    """One axis of keys that walk together."""
    columns = {key: points(key, values) for key, values in entry.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(column)}" for key, column in columns.items())
        raise UserError(
            f"{file}: sweep.zip: keys of one entry walk together and need equally many values; {lengths}"
        )
    return axis(f"{file}: sweep.zip of {', '.join(columns)}", list(zip(*columns.values(), strict=True)))


def _exclusion(file: Path, entry: dict[str, Any], known: dict[str, list[Any]], points: Points) -> Exclusion:
    """What an entry leaves out; a word that no cell has is a slip."""
    found = {key: [said.value for said in points(key, values)] for key, values in entry.items()}
    for key, values in found.items():
        if key not in known:
            raise UserError(
                f"{file}: sweep.exclude: {key} is no axis of this sweep; there are {', '.join(known)}"
            )
        for value in values:
            if not _among(value, known[key]):
                there = ", ".join(dict.fromkeys(map(str, known[key])))
                raise UserError(f"{file}: sweep.exclude: no cell has {key}={value}; there are {there}")
    return found


def _known(axes: Sequence[Axis]) -> dict[str, list[Any]]:
    """Every value that a file or the command line has of each key."""
    known: dict[str, list[Any]] = {}
    for said in (said for each in axes for row in each.rows for said in row):
        known.setdefault(said.key, []).append(said.value)
    return known


def _check_owners(axes: Sequence[Axis]) -> None:
    """Refuse a key that is in two axes of a file."""
    owners: dict[str, str] = {}
    for each in axes:
        for key in each.keys:
            if key in owners:
                raise UserError(f"{each.place}: {key} is also in {owners[key]}; leave it in one of them")
            owners[key] = each.place


def _keys_of(file: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise UserError(f"{file}: {key} is {found!r}, but must hold keys; see sweeps/demo.yaml")
    return found


def _entries(file: Path, block: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = block.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry for entry in entries):
        raise UserError(f"{file}: sweep.{key} is {entries!r}, but must list entries, as - {{loss: [it, im]}}")
    return entries


# --- names ---


OF_A_SEED = ("seed", "model", "dataset")
"""Groups in which cells may differ that are repetitions of one with other seeds."""


def ledger_name(run: Run) -> dict[str, Any]:
    """What tells a cell from the others in the ledger and in tables; the base model is one, whatever the dataset."""
    if not run.loss.trains:
        return {"model": run.model.name, "loss": run.loss.name}
    return {
        "model": run.model.name,
        "dataset": run.dataset.name,
        "subset": run.subset.label,
        "loss": run.loss.name,
        "seed": run.seed,
        "epoch": run.epoch,
    }


def check_names(runs: Sequence[Run]) -> None:
    """Refuse cells that a table could not tell apart, or that no one command can run.

    Cells that only their seeds tell apart are read as repetitions of one: they may differ in what they start from, as
    each seed may have a base model and a sample of its own, and in nothing else.

    Raises:
        UserError: naming the dials that make two cells of one name different, or the key that all must share.
    """
    named: dict[str, Run] = {}
    repeated: dict[str, Run] = {}
    for run in runs:
        _check_place(runs[0], run)
        found = list(_differing(named.setdefault(_name(run), run), run))
        if found:
            raise UserError(_namesakes(_name(run), run, found))
        first = repeated.setdefault(_name(run, without="seed"), run)
        found = [each for each in _differing(first, run) if each[0].partition(".")[0] not in OF_A_SEED]
        if found:
            raise UserError(_repetitions(first, run, found))


def _check_place(first: Run, run: Run) -> None:
    for key in ("launcher", "paths", "keep_checkpoints", "tracker", "report"):
        if getattr(first, key) != getattr(run, key):
            raise UserError(f"{key}: is one for all cells of a sweep; give a command for each")


def _name(run: Run, without: str = "") -> str:
    said = {key: value for key, value in ledger_name(run).items() if value is not None and key != without}
    return " ".join(f"{key}={value}" for key, value in said.items())


def _dials_of(found: Sequence[tuple[str, Any, Any]]) -> str:
    return " and ".join(f"{key} ({one} and {other})" for key, one, other in found)


def _namesakes(name: str, run: Run, found: Sequence[tuple[str, Any, Any]]) -> str:
    dial = found[0][0]
    group = dial.partition(".")[0]
    example = (
        f"{group}.name=NAME" if group in ("model", "dataset") else f"'loss.name={run.loss.name}_${{{dial}}}'"
    )
    return (
        f"two cells of the sweep are {name}, but differ in {_dials_of(found)}, and no table could tell them apart; "
        f"give each a name of its own, e.g. {example}, or one beside its dials in an entry of sweep.zip"
    )


def _repetitions(first: Run, run: Run, found: Sequence[tuple[str, Any, Any]]) -> str:
    return (
        f"two cells of the sweep are {_name(run, without='seed')} with seed={first.seed} and seed={run.seed}, but "
        f"differ in {_dials_of(found)} too, and no table could tell which of them changed a score; give both the same, "
        f"or names of their own, e.g. 'loss.name={run.loss.name}_${{{found[0][0]}}}'"
    )


def _differing(one: Run, other: Run) -> Iterator[tuple[str, Any, Any]]:
    """What two cells of one name compute differently; nothing but the model of those that train nothing."""
    trained = ("dataset", "subset", "loss", "train", "seed") if one.loss.trains else ()
    groups = ("model", *trained, "limit", "engine")
    for group in groups:
        if getattr(one, group) != getattr(other, group):
            ours, theirs = (dict(_dials(getattr(run, group), group)) for run in (one, other))
            for key in dict.fromkeys([*ours, *theirs]):
                if ours.get(key) != theirs.get(key):
                    yield key, ours.get(key), theirs.get(key)


def _dials(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    values = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if isinstance(values, dict) and values:
        for key, each in values.items():
            yield from _dials(each, f"{prefix}.{key}")
    else:
        yield prefix, values
