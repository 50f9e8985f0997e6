"""From composed text to values, and what is said of a key that is wrong; the door of OmegaConf."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from im_bench.config.run import Paths, Report, Run, Training
from im_bench.config.values import Frozen, UserError, ValueNeeded

Shape = TypeVar("Shape", bound=BaseModel)
SCALAR = ("int_type", "float_type", "string_type", "bool_type", "path_type", "literal_error")
"""What pydantic calls a value that is none of one number or word."""


def _unknown(key: str) -> str:
    return f"{key}: there is no such key"


def validated(cfg: DictConfig, unknown: Callable[[str], str] = _unknown) -> Run:
    """The one place where a composed config becomes a `Run`.

    Args:
        unknown: what is said of a key that there is not.

    Raises:
        UserError: naming every key that is missing, unknown or out of its range.
    """
    _name_no_judge(cfg)
    return _validated(cfg, Run, unknown)


JUDGED = ("mt_bench", "alpaca_eval")
"""Runners of benchmarks that need a judge."""


def _name_no_judge(cfg: DictConfig) -> None:
    """Where nobody is asked to judge, nobody need be named."""
    chosen = cfg.benchmark if "benchmark" in cfg else None
    specs = [spec for spec in (chosen or {}).values() if isinstance(spec, DictConfig)]
    if OmegaConf.is_missing(cfg.judge, "model") and not any(spec.get("runner") in JUDGED for spec in specs):
        cfg.judge.model = "none"


def training_values(cfg: DictConfig, unknown: Callable[[str], str] = _unknown) -> Training:
    """What a training needs of a composed config; what else is missing or wrong does not matter."""
    return _validated(OmegaConf.masked_copy(cfg, list(Training.model_fields)), Training, unknown)


def _validated(cfg: DictConfig, shape: type[Shape], unknown: Callable[[str], str]) -> Shape:
    try:
        # Unresolved first: a missing value is then named itself, not a key that refers to it.
        OmegaConf.to_container(cfg, throw_on_missing=True)
        values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]  # a dict at the top
    except MissingMandatoryValue as error:
        raise ValueNeeded(str(error.full_key)) from None
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from None
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(_sentence(problem, unknown) for problem in error.errors())) from None


class _Reported(Frozen):
    paths: Paths
    report: Report


def report_values(cfg: DictConfig) -> tuple[Paths, Report]:
    """What rendering scores again needs of a composed config; what else is missing or wrong does not matter."""
    values = {group: OmegaConf.to_container(cfg[group], resolve=True) for group in ("paths", "report")}
    try:
        found = _Reported.model_validate(values)
        return found.paths, found.report
    except ValidationError as error:
        raise UserError("\n".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: Any, unknown: Callable[[str], str] = _unknown) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    place = problem["loc"]
    # Where a value has one of several shapes, pydantic names the shape it took it for; that is no key of the user's.
    shape = {"benchmark": 2, "engine": 1, "judge": 1, "launcher": 1}.get(str(place[0]), len(place))
    words = place[:shape] + place[shape + 1 :]
    # A part of a mixture is said flat: its fraction beside what is said of its dataset.
    if place[:2] == ("dataset", "parts") and place[3:4] == ("dataset",):
        words = place[:3] + place[4:]
    key = ".".join(map(str, words))
    match problem["type"]:
        case "missing":
            return str(ValueNeeded(key))
        case "extra_forbidden":
            return unknown(key)
        case kind if kind in SCALAR and isinstance(problem["input"], list):
            return f"{key}={problem['input']}: one value is needed; {several(key)}"
    return f"{key}={problem['input']!r}: {message[0].lower()}{message[1:]}"


def several(key: str) -> str:
    """How several values of a key are said."""
    return f"several are an axis: {key}=A,B on the command line, `{key}: A, B` below hydra.sweeper.params"


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values, interpolations unresolved.

    Raises:
        UserError: when it is not YAML, or holds anything but keys.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys, found {type(values).__name__}")
    return values  # type: ignore[return-value]  # its keys are words
