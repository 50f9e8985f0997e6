"""Words to configs: the only module that knows Hydra.

A primary config is conf/config.yaml or a file of sweeps/; groups are looked up in conf/.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

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
    training_values,
    validated,
)

PACKAGE = Path(__file__).parent
# In an installed wheel the two folders are in the package; in a clone they are beside it.
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"


def compose_run(name: str, folder: Path, overrides: Sequence[str]) -> Run:
    """One cell from the primary config `name` of `folder`.

    Raises:
        UserError: an unknown group option or key (with the nearest one), or a value out of its range.
    """
    return validated(_compose(name, folder, overrides))


def compose_training(overrides: Sequence[str]) -> Training:
    """What of one cell decides its training; nothing else of its config need be said."""
    return training_values(_compose("config", CONF, overrides))


def compose_trainings(overrides: Sequence[str]) -> list[Training]:
    """As `compose_training`, for every combination of comma-separated values."""
    return [compose_training(cell) for cell in sweep_cells("config", CONF, overrides)]


def sweep_runs(name: str, folder: Path, overrides: Sequence[str]) -> list[Run]:
    """Every cell of a sweep file."""
    return [compose_run(name, folder, cell) for cell in sweep_cells(name, folder, overrides)]


def report_settings(name: str, overrides: Sequence[str]) -> tuple[Paths, Report]:
    """Where the scores of a sweep are and how to read them; nothing else of its config need be said.

    Args:
        name: of a sweep file, or any name in the ledger, such as that of an unnamed run.
    """
    known = name in sweep_files() or Path(name).suffix == ".yaml"
    file, folder = sweep_file(name) if known else ("config", CONF)
    return report_values(_compose(file, folder, overrides))


def sweep_name(name: str) -> str:
    """The name in the ledger of a sweep given by its name or its file."""
    return Path(name).stem if name.endswith(".yaml") else name


def sweep_cells(name: str, folder: Path, overrides: Sequence[str]) -> list[list[str]]:
    """What each cell of a sweep overrides: the product of its axes, where the command line's win."""
    axes = {override.key_or_group: override for override in _parsed(_params(folder / f"{name}.yaml"))}
    given = {override.key_or_group: override for override in _parsed(overrides)}
    choices = [list(_choices(override)) for override in (axes | given).values()]
    return [list(cell) for cell in itertools.product(*choices)]


def _params(file: Path) -> list[str]:
    params: Any = load_yaml(file)
    for key in ("hydra", "sweeper", "params"):
        params = params.get(key, {})
        if not isinstance(params, dict):
            raise UserError(f"{file}: {key} is {params!r}, but must hold keys; see sweeps/demo.yaml")
    return [f"{key}={value}" for key, value in params.items()]


def _choices(override: Override) -> Iterator[str]:
    if not override.is_sweep_override():
        yield override.input_line or ""
        return
    for value in override.sweep_string_iterator():
        yield f"{override.get_key_element()}={value}"


def _compose(name: str, folder: Path, overrides: Sequence[str]) -> DictConfig:
    for override in _parsed(overrides):
        _check_choice(override)
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            search = f"hydra.searchpath=[file://{CONF.resolve()}]"
            cfg = compose(name, overrides=[search, *map(_allowed, _parsed(overrides))])
    except HydraException as error:
        raise UserError(_sentence(error)) from error
    _spell_out_parts(cfg)
    return cfg


def _allowed(override: Override) -> str:
    """What is said, also of a field that the chosen dataset or subset leaves at its default, or that holds any keys."""
    said = override.input_line or ""
    group, _, field = override.key_or_group.partition(".")
    fields = {"dataset": Dataset.model_fields, "subset": Subset.model_fields}.get(group, {})
    open_field = group == "judge" and field.partition(".")[0] in ("body", "price")
    if (field in fields or open_field) and said.startswith(override.key_or_group):
        return f"++{said}"
    return said


def _spell_out_parts(cfg: DictConfig) -> None:
    """Put in the parts of a mixture what conf/dataset says of each, below what is said of it there."""
    dataset = cfg.get("dataset", {})
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
    values = dict(said) if isinstance(said, DictConfig) else {"fraction": said}
    fraction = values.pop("fraction", 1)
    file = CONF / "dataset" / f"{name}.yaml"
    if file.is_file():
        known = load_yaml(file)
        if known["source"] == "mixture":
            raise UserError(f"dataset.parts.{name}: a mixture has no mixtures as parts; name theirs")
    elif "path" in values:
        known = load_yaml(CONF / "dataset" / "local.yaml") | {"name": name}
    else:
        options = [file.stem for file in (CONF / "dataset").glob("*.yaml")]
        raise UserError(
            f"dataset.parts.{name}: there is no such dataset{nearest(name, options)} "
            f"(a file of yours is {name}: {{path: FILE}})"
        )
    if (known | values).get("path") == "???":
        raise UserError(f"dataset.parts.{name}: give the file, {name}: {{path: FILE}}")
    return {"dataset": known | values, "fraction": fraction}


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
    if override.is_sweep_override():
        raise UserError(f"{said}: several values make several cells; add --multirun")
    allowed = (str, list) if group == "benchmark" else str
    if group in _groups() and not override.is_delete() and not isinstance(override.value(), allowed):
        raise UserError(f"{said}: one {group} is needed, e.g. {group}=NAME")


def _sentence(error: HydraException) -> str:
    """Hydra's refusal in the user's words, with the nearest name that would have been right."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, slash, option = error.missing_cfg_file.removesuffix(".yaml").partition("/")
        if not slash:  # a defaults list names a file beside its own
            return f"defaults: there is no config {group}; a sweep's begin with config"
        options = error.options or [file.stem for file in (CONF / group).glob("*.yaml")]
        return f"{group}={option}: there is no such {group}{nearest(option, options)}"
    text = str(error)
    found = re.search(r"[Cc]ould not (?:override|find|delete from config\.) '([^']+)'", text)
    key, known = found[1] if found else "", _keys()
    if key and key not in known:
        return f"{key}: there is no such key{nearest(key, known, otherwise=_groups())}"
    if "." in key:
        return f"{key}: the chosen {key.partition('.')[0]} has no such key"
    return text.splitlines()[0]


def nearest(word: str, options: Sequence[str], otherwise: Sequence[str] | None = None) -> str:
    """The option most like `word`; where none is like it, what there is: `otherwise`, or all options."""
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(sorted(otherwise or options))}"


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir()]


def _keys() -> list[str]:
    """Every group, and every dotted key of every choice."""
    keys = dict.fromkeys([*_groups(), *_dotted(load_yaml(CONF / "config.yaml"))])
    for file in sorted(CONF.glob("*/*.yaml")):
        keys |= dict.fromkeys(_dotted(load_yaml(file), f"{file.parent.name}."))
    return list(keys)


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
    if name not in sweep_files():
        raise UserError(
            f"there is no sweep {name}{nearest(name, sweep_files())} (or give the path of a YAML file)"
        )
    return name, SWEEPS
