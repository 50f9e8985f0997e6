"""The commands."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

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
from im_bench.config import UNNAMED, Report, Run, Training, UserError, ValueNeeded
from im_bench.places import check_results
from im_bench.progress import Progress, Reading
from im_bench.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from im_bench.pipeline import Cell
    from im_bench.preflight import Need
    from im_bench.report.collect import Row
    from im_bench.report.pivot import Form
    from im_bench.work import Failure, Planned

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

log = logging.getLogger("im_bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 when a cell failed, 2 when it is for the user to mend, 130 when interrupted, 143 when terminated.
    """
    # lm-eval's own bars, one per request type and task, would fight ours for the terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # rather no bar than no table, where they are not UTF-8
    options = _parser().parse_args(_intermixed(sys.argv[1:] if arguments is None else list(arguments)))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    terminated = threading.Event()
    try:
        with _interrupted_by_sigterm(terminated):
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
        what, code = ("terminated", 143) if terminated.is_set() else ("interrupted", 130)
        print(f"\nim-bench: {what}{resumes}", file=sys.stderr)
        return code


@contextmanager
def _interrupted_by_sigterm(came: threading.Event) -> Iterator[None]:
    """`kill`, or a cluster's time limit, ends what Ctrl-C ends, and as softly."""

    def end(*_: object) -> None:
        came.set()  # of another exception than Ctrl-C's Ray would make that one
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one hears of signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(options: argparse.Namespace) -> int:
    """One cell, or with --multirun an unnamed grid."""
    return _run_cells(None, _runs_of(options), options)


def sweep(options: argparse.Namespace) -> int:
    """Every cell of a sweep file, then its tables and figures."""
    return _run_cells(sweep_file(options.name)[0], _runs_of(options), options)


def _runs_of(options: argparse.Namespace) -> list[Run]:
    """The cells of a `run` or `sweep` command."""
    if options.command is sweep:
        return _judge_unnamed(partial(sweep_runs, *sweep_file(options.name)), options.overrides)
    if options.multirun:
        return _judge_unnamed(partial(sweep_runs, "config", CONF), options.overrides)
    return _judge_unnamed(lambda words: [compose_run("config", CONF, words)], options.overrides)


def report(options: argparse.Namespace) -> int:
    """The tables and figures of a sweep from the ledger; nothing is run."""
    from im_bench.report import check_baseline
    from im_bench.report.collect import FILE, read_ledger

    name = sweep_name(options.name)
    paths, wanted = report_settings(options.name, options.overrides)
    check_results(paths.results)
    rows = [row for row in read_ledger(paths.results / FILE) if row.sweep == name]
    if not rows:
        sweep_file(options.name)  # a name that is nowhere is told so, beside the nearest
    elif any(word.startswith("report.baseline=") for word in options.overrides):
        check_baseline(rows, wanted.baseline)
    _report(name, paths.results, wanted, options, form=_form(options), published=options.published)
    return 0


def _form(options: argparse.Namespace) -> Form | None:
    """The table that a `report` command lays out itself."""
    from im_bench.report.pivot import Form

    if not (options.rows or options.columns or options.of):
        return None
    columns = options.columns or (() if "benchmark" in (options.rows or ()) else ("benchmark",))
    return Form(options.rows or ("loss",), columns, options.of or ())


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
    surveys = {}
    for training in compose_trainings(options.overrides):
        check_results(training.paths.results)
        with redirect_stdout(sys.stderr):
            from im_bench import surveying

            in_tokens = "tokens" in (options.unit, training.subset.unit)
            tokenizer = _tokenizer(training) if in_tokens else None
            with Reading(training.dataset.name, training.dataset.num_examples) as reading:
                survey = surveying.survey_dataset(training, options.unit, tokenizer, reading.more)
            found = surveying.stats(survey, training)
            picture = surveying.draw_lengths(survey, training)
            surveys[picture.stem.removeprefix("lengths_").removesuffix(f"_{options.unit}")] = survey
        if options.json:
            print(json.dumps(found | {"picture": str(picture)}))
        else:
            _console().print(surveying.shown_stats(found, survey, picture))
    if len(surveys) > 1:
        picture = surveying.draw_outputs(surveys, training.paths.results)
        print(picture, file=sys.stderr if options.json else sys.stdout)
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
        found = preflight.explained(preflight.needs((run, preflight.Parts.whole(run)) for run in runs))
    return _show_needs(found, options)


def fetch(options: argparse.Namespace) -> int:
    """Get what a sweep or cell needs, so that it runs without network."""
    runs = _named_runs(options)
    with redirect_stdout(sys.stderr):
        from im_bench import preflight

        offline_unless_reachable()
        preflight.fetch(preflight.needs((run, preflight.Parts.whole(run)) for run in runs), log.info)
        found = preflight.explained(preflight.needs((run, preflight.Parts.whole(run)) for run in runs))
    return _show_needs(found, options)


def plan(options: argparse.Namespace) -> int:
    """What of a sweep or cell is done and to do, and what that will take; nothing is run, fetched or written."""
    from im_bench import planning
    from im_bench.pipeline import plan_sweep
    from im_bench.planning.shown import shown

    cells = plan_sweep(_named_runs(options), fetch=False)
    found = planning.foresee(cells)
    if options.json:
        print(json.dumps(found.as_json()))
    else:
        _console().print(shown(found, _meant(cells, options)))
    return 0


def status(options: argparse.Namespace) -> int:
    """Where each step of a sweep or cell stands: done, running, failed, killed, to do."""
    from im_bench import standing
    from im_bench.pipeline import plan_sweep
    from im_bench.store import Store

    cells = plan_sweep(_named_runs(options), fetch=False)
    found = standing.standings(cells, Store(cells[0].run.paths.results / "store"))
    if options.json:
        print(json.dumps([each.as_json() for each in found]))
    else:
        _console().print(standing.shown(found, _meant(cells, options)))
    return 0


def gc(options: argparse.Namespace) -> int:
    """The steps in the store that no sweep names, and with --delete without them."""
    from im_bench import pruning
    from im_bench.pipeline import plan_sweep

    def planned(words: Sequence[str]) -> Sequence[Planned]:
        elsewhere = [word for word in words if not word.startswith("paths.results=")]
        try:
            with redirect_stderr(StringIO()):
                command = _parser().parse_args(_intermixed([*elsewhere, *here]))
        except SystemExit:
            raise UserError("it is no command") from None
        return _given(command) if command.command is judge else plan_sweep(_runs_of(command), fetch=False)

    sweep = next((word for word in options.overrides if "=" not in word and word[:1] not in ("~", "+")), None)
    if sweep:
        raise UserError(
            f"gc {sweep}: takes no sweep, as it lists what none names of a whole store; give gc alone, or with "
            "paths.results=FOLDER for another store"
        )
    results = compose_training(options.overrides).paths.results
    check_results(results, write=options.delete)
    here = [word for word in options.overrides if word.startswith("paths.results=")]
    found = pruning.unnamed(results, planned)
    if options.delete:
        found = pruning.delete(found, results)
    if options.json:
        print(json.dumps([each.as_json() for each in found]))
    else:
        _console().print(pruning.shown(found, deleted=options.delete))
    return 0


def ingest(options: argparse.Namespace) -> int:
    """Results and verdicts in files of others, as rows of the ledger."""
    files, overrides = _files_and_overrides(options)
    training = compose_training(overrides)
    check_results(training.paths.results)
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting

        rows = ingesting.ingest(files, training, options.sweep)
    return _show_rows(rows, training.paths.results, options)


def judge(options: argparse.Namespace) -> int:
    """Answers in files of others, judged."""
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting
        from im_bench.pruning import remember

        files, run = _judged(options)
        check_results(run.paths.results)
        ingesting.given_answers(files, run)  # what cannot be judged is refused, and not remembered
        remember(run.paths.results, options.sweep, _words(options))
        with Progress() as progress:
            rows, failures = ingesting.judge_answers(files, run, options.sweep, progress)
    if rows:
        _show_rows(rows, run.paths.results, options)
    return _tell_failures(failures)


def _judged(options: argparse.Namespace) -> tuple[list[Path], Run]:
    """The files of a `judge` command, and the run whose judge and benchmarks they get."""
    from im_bench import ingesting

    files, overrides = _files_and_overrides(options)
    if not any(word.startswith("benchmark=") for word in overrides):
        overrides.append(f"benchmark=[{','.join(ingesting.benchmarks_of(files))}]")
    return files, compose_run("config", CONF, ["loss=none", *overrides])


def _given(options: argparse.Namespace) -> list[Planned]:
    """The steps of a `judge` command, to be looked for."""
    with redirect_stdout(sys.stderr):
        from im_bench import ingesting

        return [ingesting.given_answers(*_judged(options), fetch=False)]


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


def _named(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The sweep that a command names, and its overrides."""
    if options.name and "=" not in options.name and not options.name.startswith(("~", "+")):
        return options.name, options.overrides
    return None, [options.name, *options.overrides] if options.name else options.overrides


def _named_runs(options: argparse.Namespace) -> list[Run]:
    """The cells of a sweep, or those of overrides alone."""
    sweep, overrides = _named(options)
    name, folder = sweep_file(sweep) if sweep else ("config", CONF)
    runs = _judge_unnamed(partial(sweep_runs, name, folder), overrides)
    check_results(runs[0].paths.results, write=options.command in (doctor, fetch))
    return runs


def _meant(cells: Sequence[Cell], options: argparse.Namespace) -> str:
    """Which cells a command is about."""
    sweep, overrides = _named(options)
    said = [f"sweep {sweep}" if sweep else "no sweep named", " ".join(overrides)]
    count = f"1 cell, {cells[0].label}" if len(cells) == 1 else f"{len(cells):,} cells"
    return f"{', '.join(filter(None, said))}: {count}"


def _judge_unnamed(compose: Callable[[Sequence[str]], list[Run]], words: Sequence[str]) -> list[Run]:
    """The cells of these words; a judge without a name is no error yet, but one thing of those that are missing."""
    try:
        return compose(words)
    except ValueNeeded as error:
        if error.key != "judge.model":
            raise
        return compose([*words, f"judge.model={UNNAMED}"])


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
    from im_bench.pipeline import grid_name
    from im_bench.pruning import remember
    from im_bench.sweep import run_sweep

    check_results(runs[0].paths.results)
    if any(run.model.source == "hub" or run.paths.hub is None for run in runs):
        offline_unless_reachable()
    # Standard output is for the table; what libraries print there is not of it.
    with redirect_stdout(sys.stderr):
        cells = _checked(runs)
    name = name or grid_name(cells)
    remember(runs[0].paths.results, name, _words(options))
    with Progress() as progress, redirect_stdout(sys.stderr):
        failures, scored = run_sweep(name, cells, progress)
    if scored:
        pictures = _report(name, runs[0].paths.results, runs[0].report, options)
        _track(name, runs[0], pictures)
    return _tell_failures(failures)


def _checked(runs: Sequence[Run]) -> list[Cell]:
    """The cells, refused where they lack something, before anything is made of them; what is done lacks nothing."""
    from im_bench.pipeline import plan_sweep
    from im_bench.store import Store

    cells = plan_sweep(runs, fetch=False)
    store = Store(runs[0].paths.results / "store")
    todo = {step.key for step in store.missing(step for cell in cells for step in cell.steps())}
    if not todo:
        return cells
    from im_bench import preflight

    preflight.check(cells, todo)
    left = [any(step.key in todo for step in cell.steps()) for cell in cells]
    whole = [cell for cell, has_left in zip(cells, left, strict=True) if not has_left]
    return plan_sweep([cell.run for cell, has_left in zip(cells, left, strict=True) if has_left]) + whole


def _track(name: str, run: Run, pictures: Sequence[Path]) -> None:
    """The sweep's table and figures, besides the runs of its steps."""
    from im_bench.report.collect import FILE, read_ledger
    from im_bench.tracking import log_sweep

    results = run.paths.results
    rows = [asdict(row) for row in read_ledger(results / FILE) if row.sweep == name]
    with redirect_stdout(sys.stderr):
        log_sweep(run.tracker, results, name, rows, pictures)


def _words(options: argparse.Namespace) -> list[str]:
    """The command in words, as somebody could give it again."""
    if options.command is judge:
        files, overrides = _files_and_overrides(options)
        return ["judge", *(str(file.absolute()) for file in files), *overrides]
    multirun = ["--multirun"] if getattr(options, "multirun", False) else []
    name = []
    if options.command is sweep:
        own = Path(options.name).suffix == ".yaml"
        name = [str(Path(options.name).absolute()) if own else options.name]
    return [options.command.__name__, *multirun, *name, *options.overrides]


def _tell_failures(failures: Sequence[Failure]) -> int:
    """The command's exit code."""
    for failure in failures:
        print(f"failed: {failure.step}: {failure.why}", file=sys.stderr)
    if not failures:
        return 0
    print(f"failed steps: {len(failures)}; the same command tries them again", file=sys.stderr)
    return 2 if all(failure.mendable for failure in failures) else 1


def _report(
    name: str,
    results: Path,
    wanted: Report,
    options: argparse.Namespace,
    *,
    form: Form | None = None,
    published: bool = False,
) -> list[Path]:
    """Write and show the report of a sweep; the pictures of its figures."""
    from im_bench.report import formats
    from im_bench.report import report as write_report
    from im_bench.report.collect import read_ledger

    made = write_report(results, name, wanted, form=form, published=published)
    if options.json and (form or published):
        header = formats.header(made.table)
        print(json.dumps([dict(zip(header, each, strict=True)) for each in formats.records(made.table)]))
        return made.pictures
    if options.json:
        print(json.dumps([asdict(row) for row in read_ledger(results / "scores.jsonl") if row.sweep == name]))
        return made.pictures
    console = Console(highlight=False)
    console.print(formats.to_terminal(made.table, console.width))
    pictures = f"  {results / 'figures' / name}*.{{pdf,png}}" if made.pictures else ""
    print(f"\n{results / 'tables' / name}*.{{md,tex,csv}}{pictures}")
    if made.page:
        print(made.page)
    return made.pictures


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
    _add_layout(_command(commands, report, "the tables, figures and page of a sweep, from its scores", named))
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
    theirs = "lm-eval's results, alpaca_eval's leaderboards and annotations, FastChat's judgments; or lm-eval's folder"
    files = ("files", "FILE", theirs, "+")
    taken = _command(
        commands,
        ingest,
        "results and verdicts of others as rows of the ledger, with their source named",
        files,
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
    _command(commands, plan, "steps done and to do, tokens, GPU-hours, disk, judge calls and cost", maybe)
    _command(commands, status, "where each step of a sweep stands", maybe)
    unused = _command(commands, gc, "the steps in the store that no sweep names")
    unused.add_argument("--delete", action="store_true", help="delete them")
    _command(commands, fetch, "get what a sweep needs, so that it runs without network", maybe)
    return parser


def _add_layout(shown: argparse.ArgumentParser) -> None:
    """What `report` takes besides."""
    laid_out = "lay a table out by these: model, dataset, subset, loss, seed, epoch, benchmark or category"
    for option in ("--rows", "--columns"):
        shown.add_argument(option, type=_words_of, metavar="loss,...", help=laid_out)
    which = "with these of its numbers: benchmarks, categories, mean, what analyses found"
    shown.add_argument("--of", type=_words_of, metavar="mean,mmlu,...", help=which)
    beside = "the paper's own numbers beside them, what is wrong in those marked; alone where there are none"
    shown.add_argument("--published", action="store_true", help=beside)


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
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help=overrides)
    parser.set_defaults(command=command)
    return parser


def _free_name(text: str) -> str:
    """A name for rows of the ledger that no sweep file has."""
    if not re.fullmatch(r"[\w.-]+", text) or text in sweep_files():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no free name; letters, digits, dots and dashes, and no sweep's"
        )
    return text


def _words_of(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError("give names with commas between them, e.g. dataset,loss")
    return words


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
        if word in ("--rows", "--unit", "--sweep", "--columns", "--of"):
            options += [next(rest, "")]
    return [*arguments[:1], *options, *others]
