"""The commands."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import rich
from rich.console import Console
from rich.markup import escape

from im_bench.assets import offline_unless_reachable
from im_bench.composing import (
    CONF,
    compose_run,
    compose_training,
    compose_trainings,
    report_settings,
    sweep_file,
    sweep_files,
    sweep_name,
    sweep_runs,
)
from im_bench.config import Report, Run, Training, UserError
from im_bench.progress import Progress, Reading
from im_bench.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from im_bench.judges import Failure
    from im_bench.preflight import Need
    from im_bench.report.collect import Row

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

log = logging.getLogger("im_bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 when a cell failed, 2 when it is for the user to mend, 130 when interrupted.
    """
    # lm-eval's own bars, one per request type and task, would fight ours for the terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # rather no bar than no table, where they are not UTF-8
    options = _parser().parse_args(_intermixed(sys.argv[1:] if arguments is None else list(arguments)))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        return int(options.command(options))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who reads, as `head`, has enough
        return 0
    # An OSError outside of a step is a file that cannot be had or written, or a full disk; it says which.
    except (UserError, OSError) as error:
        if options.debug:
            raise
        print(printable(f"im-bench: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = "; the same command goes on from here" if options.command in (run, sweep, judge) else ""
        print(f"\nim-bench: interrupted{resumes}", file=sys.stderr)
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
    training = compose_training(options.overrides)
    # Libraries greet on standard output when they are first imported.
    with redirect_stdout(sys.stderr):
        from im_bench import masking

        tokenizer = _tokenizer(training)
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


def stats(options: argparse.Namespace) -> int:
    """How long instructions and outputs of datasets are, and what may be wrong in them."""
    for training in compose_trainings(options.overrides):
        with redirect_stdout(sys.stderr):
            from im_bench import surveying

            in_tokens = "tokens" in (options.unit, training.subset.unit)
            tokenizer = _tokenizer(training) if in_tokens else None
            with Reading(training.dataset.name, training.dataset.num_examples) as reading:
                survey = surveying.survey_dataset(training, options.unit, tokenizer, reading.more)
            found = surveying.stats(survey, training)
            picture = surveying.draw_lengths(survey, training)
        if options.json:
            print(json.dumps(found | {"picture": str(picture)}))
        else:
            _console().print(surveying.shown_stats(found, survey, picture))
    return 0


def advise(options: argparse.Namespace) -> int:
    """Should you train on the instructions of this file?"""
    for word in options.overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in ("dataset", "subset") and key != "dataset.format":
            raise UserError(f"{word}: advise reads its file whole; `stats` has dataset and subset")
    training = compose_training(["dataset=local", "dataset.path=FILE", *options.overrides])
    # The name of a file may hold signs that have a meaning in an override.
    dataset = training.dataset.model_copy(update={"path": options.file})
    training = training.model_copy(update={"dataset": dataset})
    with redirect_stdout(sys.stderr):
        from im_bench import advice, surveying
        from im_bench.data.rows import estimated_rows

        named = any(word.lstrip("+").startswith(("model=", "model.")) for word in options.overrides)
        counter = _tokenizer(training) if named else None
        with Reading(Path(options.file).name, estimated_rows(Path(options.file))) as reading:
            survey = surveying.survey_file(training, counter, reading.more)
        found = advice.advise(survey, options.file)
    if options.json:
        print(json.dumps(found))
    else:
        _console().print(surveying.shown_advice(found))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """What a sweep or cell needs before it runs, and whether it is here."""
    runs = _named_runs(options)
    with redirect_stdout(sys.stderr):
        from im_bench import preflight

        offline_unless_reachable()
        found = preflight.explained(preflight.needs(runs))
    return _show_needs(found, options)


def fetch(options: argparse.Namespace) -> int:
    """Get what a sweep or cell needs, so that it runs without network."""
    runs = _named_runs(options)
    with redirect_stdout(sys.stderr):
        from im_bench import preflight

        offline_unless_reachable()
        preflight.fetch(preflight.needs(runs), log.info)
        found = preflight.explained(preflight.needs(runs))
    return _show_needs(found, options)


def ingest(options: argparse.Namespace) -> int:
    """Verdicts in files of others, as rows of the ledger."""
    files, overrides = _files_and_overrides(options)
    training = compose_training(overrides)
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting

        rows = ingesting.ingest(files, training, options.sweep)
    return _show_rows(rows, training.paths.results, options)


def judge(options: argparse.Namespace) -> int:
    """Answers in files of others, judged."""
    files, overrides = _files_and_overrides(options)
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting

        if not any(word.startswith("benchmark=") for word in overrides):
            overrides.append(f"benchmark=[{','.join(ingesting.benchmarks_of(files))}]")
        run = compose_run("config", CONF, ["loss=none", *overrides])
        with Progress() as progress:
            rows, failures = ingesting.judge_answers(files, run, options.sweep, progress)
    if rows:
        _show_rows(rows, run.paths.results, options)
    return _tell_failures(failures)


def agreement(options: argparse.Namespace) -> int:
    """How far two judges agree on the same answers."""
    training = compose_training(options.overrides)
    first, second = options.files
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting

        found = ingesting.compare(Path(first), Path(second), training)
    if options.json:
        print(json.dumps([ingesting.compared_as_json(*each) for each in found]))
    else:
        for each in found:
            _console().print(ingesting.shown_agreement(*each))
    return 0


def _files_and_overrides(options: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Words that say KEY=VALUE or ~KEY are overrides, unless there is such a file."""
    words = [*options.files, *options.overrides]
    overrides = [word for word in words if ("=" in word or word[:1] == "~") and not Path(word).exists()]
    if len(overrides) == len(words):
        raise UserError(
            f"{options.command.__name__}: give a file, e.g. im-bench {options.command.__name__} FILE"
        )
    return [Path(word) for word in words if word not in overrides], overrides


def _show_rows(rows: Sequence[Row], results: Path, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    from im_bench import ingesting

    _console().print(ingesting.shown_rows(rows))
    print(
        f"\n{results / 'scores.jsonl'}: sweep {options.sweep}; im-bench report {options.sweep} makes its table"
    )
    return 0


def _named_runs(options: argparse.Namespace) -> list[Run]:
    """The cells of a sweep, or those of overrides alone; a judge without a name is no error yet."""
    from im_bench.preflight import UNNAMED

    words = [options.name, *options.overrides] if options.name else options.overrides
    is_sweep = options.name and "=" not in options.name and not options.name.startswith(("~", "+"))
    name, folder = sweep_file(options.name) if is_sweep else ("config", CONF)
    words = words[1:] if is_sweep else words
    try:
        return sweep_runs(name, folder, words)
    except UserError as error:
        if not str(error).startswith("judge.model: a value is needed"):
            raise
        return sweep_runs(name, folder, [*words, f"judge.model={UNNAMED}"])


def _show_needs(found: Sequence[Need], options: argparse.Namespace) -> int:
    missing = [need for need in found if need.problem]
    if options.json:
        print(json.dumps([need.as_json() for need in found]))
    else:
        console = _console()
        for need in sorted(found, key=lambda need: (need.problem is not None, need.kind)):
            mark = "[red]missing[/red]" if need.problem else "[green]ok[/green]     "
            of = ", ".join(need.of) if len(need.of) < 5 else f"{len(need.of)} benchmarks"
            console.print(
                f"{mark} {escape(f'{need.kind} {need.name} (for {of}): {need.problem or need.at}')}"
            )
        console.print(f"{len(found) - len(missing)} of {len(found)} at hand")
        if options.command is doctor and any(need.get for need in missing):
            console.print("im-bench fetch, with the same words, gets what can be fetched")
    return 2 if missing else 0


def _console() -> Console:
    """For text that is read line by line: wide and not wrapped where it is no terminal."""
    return (
        Console(highlight=False)
        if sys.stdout.isatty()
        else Console(highlight=False, width=160, soft_wrap=True)
    )


def _tokenizer(training: Training) -> PreTrainedTokenizerFast:
    from im_bench import stages

    if training.model.source == "hub":
        offline_unless_reachable()
    return stages.tokenizer(training)


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
    return _tell_failures(failures)


def _tell_failures(failures: Sequence[Failure]) -> int:
    """The command's exit code."""
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
    one = _command(commands, run, "one cell, e.g. im-bench run model=llama2_7b dataset=lima loss=im")
    one.add_argument(
        "--multirun", "-m", action="store_true", help="every combination of comma-separated values"
    )
    named = ("name", "NAME", "a file of sweeps/, or the path of one of your own")
    _command(commands, sweep, "every cell of sweeps/NAME.yaml, then its tables and figures", named)
    _command(commands, report, "the tables and figures of a sweep, from its scores", named)
    seen = _command(commands, mask, "the tokens of conversations, coloured by part and weight")
    rows = "rows of the dataset, from 0; the first three else"
    seen.add_argument("--rows", type=_numbers, metavar="0,5,7", help=rows)
    told = _command(
        commands, stats, "rows of the paper's Table 5, of one dataset or several: dataset=lima,dolly_15k"
    )
    unit = "as the paper counts, or of a model"
    told.add_argument("--unit", choices=("words", "tokens"), default="words", help=unit)
    file = ("file", "FILE", "JSON lines, a JSON list, parquet or csv, also .gz or .zst")
    _command(commands, advise, "should you train on the instructions of this dataset?", file)
    files = ("files", "FILE", "FastChat's judgments, alpaca_eval's annotations, or a step's folder", "+")
    taken = _command(
        commands, ingest, "verdicts of others as rows of the ledger, with their source named", files
    )
    files = ("files", "FILE", "FastChat's answers, or alpaca_eval's model outputs", "+")
    judged = _command(commands, judge, "have answers judged that are in files, e.g. judge.model=NAME", files)
    for each in (taken, judged):
        each.add_argument(
            "--sweep", metavar="NAME", type=_free_name, default="ingested", help="of the rows in the ledger"
        )
    two = ("files", "FILE", "one file of verdicts for each judge, as of ingest", 2)
    _command(commands, agreement, "how far two judges agree on the same answers", two)
    maybe = ("name", "NAME", "as of sweep; without it, the cell of the overrides", "?")
    _command(commands, doctor, "what a sweep needs before it runs, and whether it is here", maybe)
    _command(commands, fetch, "get what a sweep needs, so that it runs without network", maybe)
    return parser


def _command(
    commands: Commands,
    command: Callable[[argparse.Namespace], int],
    help: str,
    first: tuple[str, str, str] | tuple[str, str, str, str | int] | None = None,
) -> argparse.ArgumentParser:
    """What every command takes; `first` is a word of its own, its name in a message, what it is, and how many."""
    parser = commands.add_parser(command.__name__, help=help)
    json_ = "print JSON for a script instead of what is for a person"
    parser.add_argument("--json", action="store_true", help=json_)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if first is not None:
        name, metavar, meaning, *count = first
        parser.add_argument(name, metavar=metavar, help=meaning, nargs=count[0] if count else None)
    overrides = "Hydra overrides, e.g. loss=im seed=1"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=overrides)
    parser.set_defaults(command=command)
    return parser


def _free_name(text: str) -> str:
    """A name for rows of the ledger that no sweep file has."""
    if not re.fullmatch(r"[\w.-]+", text) or text in sweep_files():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no free name; letters, digits, dots and dashes, and no sweep's"
        )
    return text


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
        if word in ("--rows", "--unit", "--sweep"):
            options += [next(rest, "")]
    return [*arguments[:1], *options, *others]
