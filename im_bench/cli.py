"""The commands. The only module that knows Hydra: words become composed configs, and configs runs."""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig  # noqa: TID251  # the type of what Hydra composes

from im_bench.assets import offline_unless_reachable
from im_bench.config import Run, UserError, load_yaml, validated
from im_bench.progress import Progress

PACKAGE = Path(__file__).parent
# In an installed wheel the two folders are in the package; in a clone they are beside it.
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"
log = logging.getLogger("im_bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 when a cell failed, 2 when it is for the user to mend, 130 when interrupted.
    """
    # lm-eval's own bars, one per request type and task, would fight ours for the terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    options = _parser().parse_args(_intermixed(sys.argv[1:] if arguments is None else list(arguments)))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        return int(options.command(options))
    # An OSError outside of a step is a file that cannot be had or written, or a full disk; it says which.
    except (UserError, OSError) as error:
        if options.debug:
            raise
        print(f"im-bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nim-bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """One cell, or with --multirun an unnamed grid."""
    if options.multirun:
        return _run_cells(None, sweep_runs("config", CONF, options.overrides), options)
    return _run_cells(None, [compose_run("config", CONF, options.overrides)], options)


def sweep(options: argparse.Namespace) -> int:
    """Every cell of a sweep file, then its tables and figures."""
    name, folder = _sweep_file(options.name)
    return _run_cells(name, sweep_runs(name, folder, options.overrides), options)


def report(options: argparse.Namespace) -> int:
    """The tables and figures of a sweep from the ledger; nothing is run."""
    name, folder = _sweep_file(options.name)
    first = sweep_cells(name, folder, options.overrides)[0]
    _report(name, compose_run(name, folder, first), options)
    return 0


def _run_cells(name: str | None, runs: Sequence[Run], options: argparse.Namespace) -> int:
    from im_bench.pipeline import grid_name, plan_sweep
    from im_bench.sweep import run_sweep

    cells = plan_sweep(runs)
    name = name or grid_name(cells)
    if any(run.model.source == "hub" or run.paths.hub is None for run in runs):
        offline_unless_reachable()
    # Standard output is for the table; what libraries print there is not of it.
    with Progress() as progress, redirect_stdout(sys.stderr):
        failures, scored = run_sweep(name, cells, progress)
    if scored:
        _report(name, runs[0], options)
    for step, error in failures:
        print(f"failed: {step.name}: {error}", file=sys.stderr)
    if not failures:
        return 0
    print(f"failed steps: {len(failures)}; the same command tries them again", file=sys.stderr)
    return 2 if all(isinstance(error, UserError) for _, error in failures) else 1


def _report(name: str, run: Run, options: argparse.Namespace) -> None:
    from im_bench.report import formats
    from im_bench.report import report as write_report
    from im_bench.report.collect import read_ledger

    results = run.paths.results
    table = write_report(results, name, run.report)
    if options.json:
        print(json.dumps([asdict(row) for row in read_ledger(results / "scores.jsonl") if row.sweep == name]))
        return
    rich.print(formats.to_terminal(table))
    print(f"\n{results / 'tables' / name}.{{md,tex,csv}}  {results / 'figures' / name}.{{pdf,png}}")


# --- composing ---


def compose_run(name: str, folder: Path, overrides: Sequence[str]) -> Run:
    """One cell from the primary config `name` of `folder`.

    Raises:
        UserError: an unknown group option or key (with the nearest one), or a value out of its range.
    """
    return validated(_compose(name, folder, overrides))


def sweep_runs(name: str, folder: Path, overrides: Sequence[str]) -> list[Run]:
    """Every cell of a sweep file."""
    return [compose_run(name, folder, cell) for cell in sweep_cells(name, folder, overrides)]


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
            return compose(name, overrides=[f"hydra.searchpath=[file://{CONF.resolve()}]", *overrides])
    except HydraException as error:
        raise UserError(_sentence(error)) from error


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
        return f"{group}={option}: there is no such {group}{_nearest(option, options)}"
    text = str(error)
    found = re.search(r"[Cc]ould not (?:override|find|delete from config\.) '([^']+)'", text)
    key, known = found[1] if found else "", _keys()
    if key and key not in known:
        return f"{key}: there is no such key{_nearest(key, known, otherwise=_groups())}"
    if "." in key:
        return f"{key}: the chosen {key.partition('.')[0]} has no such key"
    return text.splitlines()[0]


def _nearest(word: str, options: Sequence[str], otherwise: Sequence[str] | None = None) -> str:
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


def _sweep_file(name: str) -> tuple[str, Path]:
    """The name and folder of a sweep: one of ours, or the path of a YAML file."""
    path = Path(name)
    if path.suffix == ".yaml" and path.is_file():
        return path.stem, path.parent
    known = [file.stem for file in SWEEPS.glob("*.yaml")]
    if name not in known:
        raise UserError(f"there is no sweep {name}{_nearest(name, known)} (or give the path of a YAML file)")
    return name, SWEEPS


# --- words ---


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="im-bench", description="On which tokens should the loss of instruction tuning be?"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    overrides = "Hydra overrides, e.g. loss=im seed=1"
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--json", action="store_true", help="print the scores as JSON instead of the table")
    every.add_argument("--debug", action="store_true", help="show the traceback of an error")
    one = commands.add_parser(
        "run", parents=[every], help="one cell, e.g. im-bench run model=llama2_7b dataset=lima loss=im"
    )
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=overrides)
    one.add_argument(
        "--multirun", "-m", action="store_true", help="every combination of comma-separated values"
    )
    one.set_defaults(command=run)
    for name, command, help_ in (
        ("sweep", sweep, "every cell of sweeps/NAME.yaml, then its tables and figures"),
        ("report", report, "the tables and figures of a sweep, from its scores"),
    ):
        many = commands.add_parser(name, help=help_, parents=[every])
        many.add_argument("name", metavar="NAME", help="a file of sweeps/, or the path of one of your own")
        many.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=overrides)
        many.set_defaults(command=command)
    return parser


def _intermixed(arguments: list[str]) -> list[str]:
    """Options may stand anywhere: the command first, then options, then its name and overrides."""
    options = [word for word in arguments[1:] if word.startswith("-")]
    return [*arguments[:1], *options, *(word for word in arguments[1:] if not word.startswith("-"))]
