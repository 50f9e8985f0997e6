"""The commands."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import rich

from im_bench.assets import offline_unless_reachable
from im_bench.composing import (
    CONF,
    compose_run,
    compose_training,
    report_settings,
    sweep_file,
    sweep_name,
    sweep_runs,
)
from im_bench.config import Report, Run, UserError
from im_bench.progress import Progress

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
    name, folder = sweep_file(options.name)
    return _run_cells(name, sweep_runs(name, folder, options.overrides), options)


def report(options: argparse.Namespace) -> int:
    """The tables and figures of a sweep from the ledger; nothing is run."""
    from im_bench.report.collect import FILE, read_ledger

    name = sweep_name(options.name)
    paths, wanted = report_settings(options.name, options.overrides)
    if name not in {row.sweep for row in read_ledger(paths.results / FILE)}:
        sweep_file(options.name)  # a name that is nowhere is told so, beside the nearest
    _report(name, paths.results, wanted, options)
    return 0


def mask(options: argparse.Namespace) -> int:
    """The tokens of conversations by part and weight."""
    from rich.console import Console

    training = compose_training(options.overrides)
    if training.model.source == "hub":
        offline_unless_reachable()
    # Libraries greet on standard output when they are first imported.
    with redirect_stdout(sys.stderr):
        from im_bench import masking, stages

        tokenizer = stages.tokenizer(training)
        found = masking.masked(training, tokenizer, options.rows)
    if options.json:
        for each in found:
            print(json.dumps(each.as_json()))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    colour = console.color_system is not None and not console.no_color
    console.print(masking.legend(training.loss.name, colour=colour))
    for each in found:
        console.print(masking.shown(each, tokenizer, colour=colour))
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
        _report(name, runs[0].paths.results, runs[0].report, options)
    for step, error in failures:
        print(f"failed: {step.name}: {error}", file=sys.stderr)
    if not failures:
        return 0
    print(f"failed steps: {len(failures)}; the same command tries them again", file=sys.stderr)
    return 2 if all(isinstance(error, UserError) for _, error in failures) else 1


def _report(name: str, results: Path, wanted: Report, options: argparse.Namespace) -> None:
    from im_bench.report import formats
    from im_bench.report import report as write_report
    from im_bench.report.collect import read_ledger

    table = write_report(results, name, wanted)
    if options.json:
        print(json.dumps([asdict(row) for row in read_ledger(results / "scores.jsonl") if row.sweep == name]))
        return
    rich.print(formats.to_terminal(table))
    print(f"\n{results / 'tables' / name}.{{md,tex,csv}}  {results / 'figures' / name}.{{pdf,png}}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="im-bench", description="On which tokens should the loss of instruction tuning be?"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    overrides = "Hydra overrides, e.g. loss=im seed=1"
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument(
        "--json", action="store_true", help="print JSON for a script instead of what is for a person"
    )
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
    seen = commands.add_parser(
        "mask", parents=[every], help="the tokens of conversations, coloured by part and weight"
    )
    seen.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=overrides)
    seen.add_argument(
        "--rows", type=_numbers, metavar="0,5,7", help="rows of the dataset, from 0; the first three else"
    )
    seen.set_defaults(command=mask)
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no row numbers; e.g. --rows 0,5,7") from None


def _intermixed(arguments: list[str]) -> list[str]:
    """Options may stand anywhere: the command first, then options, then its name and overrides."""
    options, others = [], []
    rest = iter(arguments[1:])
    for word in rest:
        if not word.startswith("-"):
            others.append(word)
            continue
        options.append(word)
        if word == "--rows":
            options += [next(rest, "")]
    return [*arguments[:1], *options, *others]
