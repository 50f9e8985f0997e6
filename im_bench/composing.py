"""Words to configs: the only module that knows Hydra.

A primary config is conf/config.yaml or a file of sweeps/; groups are looked up in conf/.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from im_bench.config import (
    Dataset,
    Paths,
    Report,
    Run,
    Subset,
    Training,
    UserError,
    load_yaml,
    report_values,
    several,
    training_values,
    validated,
)
from im_bench.grid import Row, Said, axis, cells, check_names, texts

PACKAGE = Path(__file__).parent
# In an installed wheel the two folders are in the package; in a clone they are beside it.
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"
SEVERAL = ("benchmark", "analysis")
"""Groups of which a cell may have several choices, or none."""
PLAIN_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_][\w./-]*", re.IGNORECASE)
"""What Hydra takes for a word without quotes."""


def compose_run(name: str, folder: Path, overrides: Sequence[str]) -> Run:
    """One cell from the primary config `name` of `folder`.

    Raises:
        UserError: an unknown group option or key (with the nearest one), or a value out of its range.
    """
    return validated(_compose(name, folder, overrides), _unknown_in(name, folder))


def compose_training(overrides: Sequence[str]) -> Training:
    """What of one cell decides its training; nothing else of its config need be said."""
    return training_values(_compose("config", CONF, overrides), _unknown_in("config", CONF))


def compose_trainings(overrides: Sequence[str]) -> list[Training]:
    """As `compose_training`, for every combination of comma-separated values."""
    return [compose_training(texts(cell)) for cell in sweep_cells("config", CONF, overrides)]


def sweep_runs(name: str, folder: Path, overrides: Sequence[str]) -> list[Run]:
    """Every cell of a sweep file.

    Raises:
        UserError: as `compose_run`; where there is no cell, or one is there twice; or where two have one name.
    """
    found = sweep_cells(name, folder, overrides)
    pieces = _Pieces(name, folder, found)
    runs = [pieces.run(cell) for cell in found]
    check_names(runs)
    return runs


def report_settings(name: str, overrides: Sequence[str]) -> tuple[Paths, Report]:
    """Where the scores of a sweep are and how to read them; nothing else of its config need be said.

    Args:
        name: of a sweep file, or any name in the ledger, such as that of an unnamed run.
    """
    known = name in sweep_files() or Path(name).suffix == ".yaml"
    file, folder = sweep_file(name) if known else ("config", CONF)
    _check_choices(folder / f"{file}.yaml")
    return report_values(_compose(file, folder, overrides))


def sweep_name(name: str) -> str:
    """The name in the ledger of a sweep given by its name or its file."""
    return Path(name).stem if name.endswith(".yaml") else name


def sweep_cells(name: str, folder: Path, overrides: Sequence[str]) -> list[Row]:
    """What each cell of a sweep overrides: the product of its axes, where the command line's win."""
    given = [axis(said.input_line or "", [(each,) for each in _choices(said)]) for said in _parsed(overrides)]
    last = {each.keys[0]: each for each in given}
    file = folder / f"{name}.yaml"
    found = cells(file, list(last.values()), _points)
    _check_choices(file)
    return found


def _check_choices(file: Path) -> None:
    """Refuse two choices of a group, which Hydra would merge into one, and a choice where dials are."""
    values = load_yaml(file)
    entries = [entry for entry in values.get("defaults", []) if isinstance(entry, dict)]
    for said, choice in (each for entry in entries for each in entry.items()):
        group = str(said).split()[-1]
        if group in _groups() and group not in SEVERAL and isinstance(choice, list):
            raise UserError(
                f"{file}: defaults: {said}: {_word(choice)}: one {group} is needed; {several(group)}"
            )
    for group in _groups():
        if not isinstance(values.get(group, {}), dict):
            raise UserError(
                f"{file}: {group}: {_word(values[group])}: one is chosen in defaults, `- override {group}: NAME`; "
                f"{several(group)}"
            )


def _points(key: str, values: Any) -> list[Said]:
    """The values of a key in YAML: a list, or words as on the command line, such as `it, im` or `range(0,3)`."""
    if isinstance(values, str):
        words = [values]
    else:
        words = [_word(value) for value in (values if isinstance(values, list) else [values])]
    return [said for override in _parsed([f"{key}={word}" for word in words]) for said in _choices(override)]


def _word(value: Any) -> str:
    """A value of YAML as Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    if isinstance(value, str) and not PLAIN_WORD.fullmatch(value):
        return str(QuotedString(value, Quote.single).with_quotes())
    return "null" if value is None else str(value)


def _choices(override: Override) -> list[Said]:
    if not override.is_sweep_override():
        return [_said(override)]
    key = override.get_key_element()
    try:
        words = [f"{key}={value}" for value in override.sweep_string_iterator()]
    except HydraException:
        raise UserError(f"{override.input_line}: name the values, {key}=A,B or {key}=range(0,5)") from None
    return [_said(each) for each in _parsed(words)]


def _said(override: Override) -> Said:
    key, said, value = override.key_or_group, override.input_line or "", override.value()
    word = not isinstance(value, dict | list) and "${" not in str(value)
    plain = word and said.startswith(f"{key}=") and key not in _groups()
    return Said(key, said, value, plain)


class _Pieces:
    """The cells of one sweep, put together of groups: Hydra composes once what cells say of a group.

    A plain value is put in as Hydra does it. Where a choice reaches beyond its group, Hydra composes the whole cell.
    """

    def __init__(self, name: str, folder: Path, cells: Sequence[Row]) -> None:
        self.name, self.folder, self.first = name, folder, cells[0]
        self.base = _hydra(name, folder, texts(self.first))
        self.cfg = copy.deepcopy(self.base)
        self.composed: dict[tuple[str, ...], DictConfig | None] = {}
        columns = [column for column in zip(*cells, strict=True) if len({said.text for said in column}) > 1]
        values = {said.key for said in self.first} - set(_groups())
        self.plain = {
            column[0].key
            for column in columns
            if all(said.plain for said in column)
            and not any(_within(column[0].key, key) or _within(key, column[0].key) for key in values)
        }
        # The parts of a mixture are spelled out in every cell anew, and a judge is named where no benchmark asks one.
        self.groups = {"dataset"} | {_group(column[0].key) for column in columns}
        self.groups |= {"judge"} if "benchmark" in self.groups else set()
        whole = _raw(self.base)
        spelled = {*self.groups, "analysis"}
        self.open = {key for key in whole if key in spelled or not _is_settled(whole[key])}
        self.settled = {key: whole[key] for key in whole.keys() - self.open}

    def run(self, cell: Row) -> Run:
        """One cell, as `compose_run`."""
        pieces = {group: self._piece(group, cell) for group in self.groups}
        for group, piece in pieces.items():
            if piece is None:
                return compose_run(self.name, self.folder, texts(cell))
            self.cfg[group] = piece[group]
        for said in cell:
            if said.key in self.plain:
                OmegaConf.update(self.cfg, said.key, said.value)
        _spell_out(self.cfg)
        try:
            return Run.model_validate(self.settled | {key: _resolved(self.cfg[key]) for key in self.open})
        except (OmegaConfBaseException, ValidationError):
            return validated(
                self.cfg, _unknown_in(self.name, self.folder)
            )  # tells what is wrong in the user's words

    def _piece(self, group: str, cell: Row) -> DictConfig | None:
        """What Hydra makes of all that a cell says of a group; None where not the group alone depends on it."""
        own = {said.text for said in cell if _group(said.key) == group and said.key not in self.plain}
        said = tuple(
            each if each.text in own else first for each, first in zip(cell, self.first, strict=True)
        )
        words = (group, *texts(said))
        if words not in self.composed:
            cfg = self.base if said == self.first else _hydra(self.name, self.folder, texts(said))
            there = group in cfg and group in self.base and not OmegaConf.is_interpolation(cfg, group)
            alone = there and _raw(cfg) | {group: None} == _raw(self.base) | {group: None}
            self.composed[words] = cfg if alone else None
        return self.composed[words]


def _within(key: str, other: str) -> bool:
    return key.startswith(f"{other}.")


def _group(key: str) -> str:
    return key.partition(".")[0]


def _raw(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg)  # type: ignore[return-value]  # a dict at the top


def _resolved(value: Any) -> Any:
    if not OmegaConf.is_config(value):
        return value
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)


def _is_settled(value: Any) -> bool:
    """Whether a value is the same in every cell: it neither refers to others nor is still to be said."""
    return not any(sign in str(value) for sign in ("${", "???"))


def _compose(name: str, folder: Path, overrides: Sequence[str]) -> DictConfig:
    cfg = _hydra(name, folder, overrides)
    _spell_out(cfg)
    return cfg


def _hydra(name: str, folder: Path, overrides: Sequence[str]) -> DictConfig:
    for override in _parsed(overrides):
        _check_choice(override)
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            search = f"hydra.searchpath=[file://{CONF.resolve()}]"
            cfg = compose(name, overrides=[search, *map(_allowed, _parsed(overrides))])
    except HydraException as error:
        raise UserError(_sentence(error, folder / f"{name}.yaml")) from error
    with open_dict(cfg):
        cfg.pop("sweep", None)  # says what cells there are, and is part of none
    return cfg


def _allowed(override: Override) -> str:
    """What is said, also of a field that the chosen dataset or subset leaves at its default, or that holds any keys."""
    said = override.input_line or ""
    group, _, field = override.key_or_group.partition(".")
    fields = {"dataset": Dataset.model_fields, "subset": Subset.model_fields}.get(group, {})
    open_field = f"{group}.{field.partition('.')[0]}" in ("judge.body", "judge.price", "launcher.options")
    if (field in fields or open_field) and said.startswith(override.key_or_group):
        return f"++{said}"
    return said


def _spell_out(cfg: DictConfig) -> None:
    """Put in, where a dataset is named, what conf/dataset says of it."""
    _spell_out_parts(cfg.get("dataset", {}))
    losses = cfg.get("analysis", {}).get("losses")
    if losses is not None and losses.get("heldout") is not None:
        _spell_out_heldout(losses)


def _spell_out_heldout(losses: DictConfig) -> None:
    said = losses.heldout
    values = _values(said) if isinstance(said, DictConfig) else {"name": said}
    if "source" in values:  # an earlier cell of the sweep had it spelled out
        return
    name = str(values.pop("name", "local"))
    heldout = OmegaConf.create(_dataset(name, values, f"analysis.losses.heldout={name}", "{path: FILE}"))
    _spell_out_parts(heldout)
    OmegaConf.set_struct(losses, False)
    losses.heldout = heldout


def _spell_out_parts(dataset: DictConfig) -> None:
    """Put in the parts of a mixture what conf/dataset says of each, below what is said of it there."""
    if dataset.get("source") != "mixture" or OmegaConf.is_missing(dataset, "parts"):
        return
    parts = dataset.parts
    if not isinstance(parts, DictConfig):
        raise UserError(
            "dataset.parts: expected names and fractions, e.g. 'dataset.parts={lima: 1, dolly_15k: 0.5}'"
        )
    OmegaConf.set_struct(dataset, False)
    if dataset.name == "mixture" and parts:
        dataset.name = "-".join(_share(str(name), said) for name, said in parts.items())
    dataset.parts = {str(name): _part(str(name), said) for name, said in parts.items()}


def _share(name: str, said: Any) -> str:
    """How a part is named in the name of its mixture."""
    fraction = said.get("fraction", 1) if isinstance(said, DictConfig) else said
    return name if fraction == 1 else f"{name}_{fraction}"


def _part(name: str, said: Any) -> dict[str, Any]:
    values = _values(said) if isinstance(said, DictConfig) else {"fraction": said}
    fraction = values.pop("fraction", 1)
    known = _dataset(name, values, f"dataset.parts.{name}", f"{name}: {{path: FILE}}")
    if known["source"] == "mixture":
        raise UserError(f"dataset.parts.{name}: a mixture has no mixtures as parts; name theirs")
    return {"dataset": known, "fraction": fraction}


def _values(said: DictConfig) -> dict[str, Any]:
    return {str(key): value for key, value in said.items()}


def _dataset(name: str, values: dict[str, Any], key: str, own: str) -> dict[str, Any]:
    """What conf/dataset says of a dataset, below `values`; of a name that is not there, that it is a file.

    Args:
        own: how a file of the user's is said.
    """
    file = CONF / "dataset" / f"{name}.yaml"
    if file.is_file():
        known = load_yaml(file)
    elif "path" in values:
        known = load_yaml(CONF / "dataset" / "local.yaml") | {"name": name}
    else:
        options = [file.stem for file in (CONF / "dataset").glob("*.yaml")]
        raise UserError(f"{key}: there is no such dataset{nearest(name, options)} (a file of yours is {own})")
    if (known | values).get("path") == "???":
        raise UserError(f"{key}: give the file, {own}")
    return known | values


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: an override is KEY=VALUE, e.g. loss=im; "
            "a value with signs in it needs quotes of its own, e.g. \"dataset.path='a=b.jsonl'\""
        ) from error


def _check_choice(override: Override) -> None:
    """Refuse what Hydra would take: it merges two choices of a group into one, whatever the group."""
    group, said = override.key_or_group, override.input_line
    if _group(group) == "sweep":
        raise UserError(f"{said}: the block sweep is said in a sweep's file; here an axis is KEY=A,B")
    if override.is_sweep_override():
        raise UserError(f"{said}: several values make several cells; add --multirun")
    allowed = (str, list) if group in SEVERAL else str
    if group in _groups() and not override.is_delete() and not isinstance(override.value(), allowed):
        raise UserError(f"{said}: one {group} is needed, e.g. {group}=NAME; {several(group)}")


def _sentence(error: HydraException, file: Path) -> str:
    """Hydra's refusal in the user's words, with the nearest name that would have been right."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, slash, option = error.missing_cfg_file.removesuffix(".yaml").partition("/")
        if not slash:  # a defaults list names a file beside its own
            return f"{file}: defaults: there is no config {group}; a sweep's begin with config"
        options = error.options or [file.stem for file in (CONF / group).glob("*.yaml")]
        return f"{group}={option}: there is no such {group}{nearest(option, options)}"
    text = str(error)
    found = re.search(r"[Cc]ould not (?:override|find|delete from config\.) '([^']+)'", text)
    key, known = found[1] if found else "", _keys()
    if key and key not in known:
        return f"{key}: there is no such key{nearest(key, known, otherwise=_groups())}"
    if "." in key:
        return f"{key}: the chosen {key.partition('.')[0]} has no such key"
    of_hydra = re.search(r"Key '.*' not in .*\s+full_key: (hydra\S*)", text)
    if of_hydra:
        known = ["hydra.mode", "hydra.sweeper.params"]
        return f"{file}: {of_hydra[1]}: there is no such key{nearest(of_hydra[1], known)}"
    return f"{file}: {' '.join(text.split())}"


def _unknown_in(name: str, folder: Path) -> Callable[[str], str]:
    return partial(_unknown, folder / f"{name}.yaml")


def _unknown(file: Path, key: str) -> str:
    """What is said of a key that there is not: which file has it, if any, and the nearest that there is."""
    files = [file, CONF / "config.yaml", *sorted(CONF.glob("*/*.yaml"))]
    place = next((f"{each}: " for each in files if key in _keys_in(each)), "")
    known = [each for each in (*_keys(), *_fields(), "hydra", "sweep") if each != key]
    beside = [each for each in known if each.rpartition(".")[0] == key.rpartition(".")[0]]
    return f"{place}{key}: there is no such key{nearest(key, known, otherwise=beside or _groups())}"


def nearest(word: str, options: Sequence[str], otherwise: Sequence[str] | None = None) -> str:
    """The option most like `word`; where none is like it, what there is: `otherwise`, or all options."""
    return _like(word, options) or f"; there are {', '.join(sorted(otherwise or options))}"


def _like(word: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir()]


def _keys() -> list[str]:
    """Every group, and every dotted key of every choice."""
    keys = dict.fromkeys([*_groups(), *_keys_in(CONF / "config.yaml")])
    for file in sorted(CONF.glob("*/*.yaml")):
        keys |= dict.fromkeys(_keys_in(file))
    return list(keys)


def _keys_in(file: Path) -> list[str]:
    """Every dotted key of a file; of a choice, with its group."""
    is_choice = file.parent.parent == CONF and file.parent.name != "experiment"
    return list(_dotted(load_yaml(file), f"{file.parent.name}." if is_choice else ""))


def _fields() -> Iterator[str]:
    """Keys of groups of one shape, also those that no file says."""
    for group, field in Run.model_fields.items():
        for name in getattr(field.annotation, "model_fields", ()):
            yield f"{group}.{name}"


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def sweep_files() -> list[str]:
    return [file.stem for file in SWEEPS.glob("*.yaml")]


def sweep_file(name: str) -> tuple[str, Path]:
    """The name and folder of a sweep: one of ours, or the path of a YAML file."""
    path = Path(name)
    if path.suffix == ".yaml" and path.is_file():
        return path.stem, path.parent
    if name in sweep_files():
        return name, SWEEPS
    if path.is_file():
        raise UserError(f"{name}: the name of a sweep's file ends in .yaml; rename it")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise UserError(f"there is no file {name}{_like(path.stem, sweep_files())}")
    raise UserError(
        f"there is no sweep {name}{nearest(name, sweep_files())} (or give the path of a YAML file)"
    )
