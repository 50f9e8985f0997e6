"""What others made: verdicts and results that become rows of the ledger, answers judged here, two judges compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from im_bench import config as c
from im_bench import places, stages
from im_bench.analysis.agreement import Agreement, agree
from im_bench.assets import file_sha256, folder_sha256
from im_bench.config import UserError
from im_bench.data.files import suffix
from im_bench.data.rows import read_rows
from im_bench.evaluation import alpaca_eval, mt_bench
from im_bench.evaluation.answers import check_one_to_each
from im_bench.evaluation.leaderboards import read_leaderboard
from im_bench.evaluation.result_files import Results, read_object, read_results, results_file
from im_bench.evaluation.verdict_files import Judged, read_verdicts
from im_bench.identity import GivenIdentity
from im_bench.judging import open_judge
from im_bench.judging.overlap import note_of
from im_bench.launching import Chain, launch
from im_bench.pipeline import verdicts_step
from im_bench.report.collect import FILE, UNKNOWN, Row, write_ledger
from im_bench.report.readings import to_percent
from im_bench.scores import Score, read_scores
from im_bench.store import Step, Store
from im_bench.sweep import Observer, called_now
from im_bench.work import Failure

INSTRUCTIONS = 805
"""Of AlpacaEval, where its files are not at hand."""
RESULT_FILES = (
    "lm-eval's results have one object with `results` (results.json), alpaca_eval's leaderboards are csv"
)
BESIDE = (f"{mt_bench.BENCHMARK}_turn_1", f"{mt_bench.BENCHMARK}_turn_2", "alpaca_eval_2_length_controlled")
"""Tasks that a person is shown beside their benchmark's score."""
PUBLISHED_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
"""Whose annotations the published weights of length control are fitted to."""


def ingest(files: Sequence[Path], run: c.Training, sweep: str) -> list[Row]:
    """Take what files say of models into the ledger: verdicts, counted, and results; the new rows.

    Raises:
        UserError: a file that cannot be read or is none of these, naming the row or key; MT-Bench's questions, where
            they are needed and missing.
    """
    found = [results for path in files for results in _results(path, run)]
    rows = [_row(score, each.model, each.file, sweep) for each in found for score in each.scores]
    _write(run, sweep, rows)
    return rows


def judge_answers(
    files: Sequence[Path], run: c.Run, sweep: str, observer: Observer
) -> tuple[list[Row], list[Failure]]:
    """Have the answers of files judged by the run's judge, under each of its benchmarks; the new rows, and what failed.

    Raises:
        UserError: a benchmark that is not judged, a file that holds no answers, and what a judge may raise.
    """
    store = Store(run.paths.results / "store")
    given = given_answers(files, run)
    todo = store.missing(given.steps())
    if todo:
        open_judge(run.judge, run.paths.results)  # what it lacks is told now
    observer.start(todo)
    chain = Chain(sweep, run, partial(given_answers, files, run), tuple(todo))
    failures = launch([chain] if todo else [], c.Local(kind="local", jobs=1), store, observer)
    rows = []
    for file, name, step in given.verdicts:
        if store.done(step):
            scores = called_now(read_scores(store.path(step)), run, name)
            rows += [_row(each, _model(file), file, sweep, step.key) for each in scores]
    _write(run, sweep, rows)
    return rows, failures


def benchmarks_of(files: Sequence[Path]) -> tuple[str, ...]:
    """The benchmarks that the answers of files are to, by their format.

    Raises:
        UserError: a file that is not there or holds no answers, or files to different benchmarks.
    """
    found: set[tuple[str, ...]] = set()
    for file in files:
        match next(iter(read_rows(_there(file)))):
            case {"question_id": _, "choices": _}:
                found.add(("mt_bench",))
            case {"instruction": _, "output": _}:
                found.add(("alpaca_eval_1", "alpaca_eval_2"))
            case _:
                raise UserError(
                    f"{file}: holds no answers; FastChat's have question_id and choices, alpaca_eval's "
                    "instruction and output"
                )
    if len(found) > 1:
        raise UserError("these files are answers to different benchmarks; judge them one after the other")
    return found.pop()


def compare(first: Path, second: Path, run: c.Training) -> list[tuple[Judged, Judged, list[Agreement]]]:
    """How far two files of verdicts agree, on each benchmark and model of which both have some.

    Raises:
        UserError: when no answer has its verdict in both.
    """
    others = read_verdicts(second)
    found = []
    for ours in read_verdicts(first):
        for theirs in others:
            if (ours.benchmark, ours.model) == (theirs.benchmark, theirs.model):
                categories = ours.categories(_categories(ours, run))
                agreement = agree(ours.values(), theirs.values(), categories, ours.outcome)
                found += [(ours, theirs, agreement)] if agreement else []
    if not found:
        raise UserError(f"{first} and {second} have no verdict on the same answer of the same model")
    return found


def _results(path: Path, run: c.Training) -> Iterator[Results]:
    """By what the file, or the newest of a folder, holds.

    Raises:
        UserError: also when it is none of what can be taken.
    """
    file = results_file(path)
    content = read_object(file)
    if suffix(file) == ".csv":
        yield from read_leaderboard(file)
    elif content is not None and "results" in content:
        yield read_results(file, content)
    elif content is not None and not {"question_id", "instruction"} & content.keys():
        raise UserError(f"{file}: is an object without verdicts or results; {RESULT_FILES}")
    else:
        for verdicts in read_verdicts(path, besides=RESULT_FILES):
            yield Results(verdicts.model, path, _scores(verdicts, run))


def _scores(verdicts: Judged, run: c.Training) -> list[Score]:
    """With the number of items that the benchmark has, of which a file may hold fewer."""
    note = note_of(verdicts.judge)
    if verdicts.benchmark == mt_bench.BENCHMARK:
        categories = _categories(verdicts, run)
        found = mt_bench.scores(verdicts.rows, categories, judge=verdicts.judge, note=note)
        return [replace(each, total=mt_bench.num_items(each.task, categories)) for each in found]
    version = int(verdicts.benchmark[-1])
    score = alpaca_eval.win_rate(verdicts.rows, version, judge=verdicts.judge, note=note)
    official = places.asset_if_there(run, f"alpaca_eval/reference_outputs_v{version}")
    score = replace(score, total=max(score.total, len(read_rows(official)) if official else INSTRUCTIONS))
    return [score] if version == 1 else [score, _length_controlled(verdicts, score, run)]


def _categories(verdicts: Judged, run: c.Training) -> dict[int, str]:
    """Of MT-Bench's questions; of another benchmark's none.

    Raises:
        UserError: a verdict on a question that is not there.
    """
    if verdicts.benchmark != mt_bench.BENCHMARK:
        return {}
    file = places.asset(run, "mt_bench/question")
    found = {question.id: question.category for question in mt_bench.read_questions(file)}
    unknown = next((row["question_id"] for row in verdicts.rows if row["question_id"] not in found), None)
    if unknown is not None:
        raise UserError(f"{verdicts.file}: question_id {unknown} is not in {file}")
    return found


def _length_controlled(verdicts: Judged, score: Score, run: c.Training) -> Score:
    """By the published fit where the model has one and these are its annotations, else fitted to them."""
    if verdicts.judge == PUBLISHED_ANNOTATOR and alpaca_eval.is_published(verdicts.model, score):
        weights = places.asset_if_there(run, "alpaca_eval/glm_weights")
        difficulty = places.asset_if_there(run, "alpaca_eval/instruction_difficulty")
        if weights and difficulty:
            value = alpaca_eval.published_length_controlled(verdicts.model, weights, difficulty)
            if value is not None:
                published = alpaca_eval.as_length_controlled(score)
                return replace(published, value=value, reading_note="the published fit of length control")
    gamed = places.asset_if_there(run, "alpaca_eval/df_gamed")
    official = (
        read_rows(places.asset(run, "alpaca_eval/reference_outputs_v2"), ("instruction",)) if gamed else []
    )
    positions = {row["instruction"]: place for place, row in enumerate(official)}
    note = note_of(verdicts.judge)
    fitted = alpaca_eval.length_controlled(verdicts.rows, positions, gamed, judge=verdicts.judge, note=note)
    return replace(fitted, total=score.total)


@dataclass(frozen=True)
class Given:
    """Answers that lie in files, and the verdicts on them, each with its file and benchmark."""

    verdicts: list[tuple[Path, str, Step]]
    wires: stages.Wires

    def steps(self) -> list[Step]:
        """Every step once, each after those it needs."""
        ordered = [each for _, _, step in self.verdicts for each in (*step.needs, step)]
        return list({step.key: step for step in ordered}.values())


def given_answers(files: Sequence[Path], run: c.Run, *, fetch: bool = True) -> Given:
    """The steps that judge the answers of files under each benchmark of the run.

    Args:
        fetch: as of `im_bench.pipeline.plan`.
    """
    wires = stages.Wires()
    verdicts = [
        (file, name, _verdicts_of(file, run, name, wires, fetch=fetch))
        for file in files
        for name in run.benchmark
    ]
    return Given(verdicts, wires)


def _verdicts_of(file: Path, run: c.Run, name: str, wires: stages.Wires, *, fetch: bool) -> Step:
    """The verdicts on the answers of a file; the answers are a step like any other's."""
    spec = run.benchmark[name]
    if not isinstance(spec, c.MTBench | c.AlpacaEval):
        raise UserError(f"benchmark={name}: is not judged; mt_bench, alpaca_eval_1 and alpaca_eval_2 are")
    items = _items(_there(file), run, spec) if fetch else frozenset()
    family: stages.Family = "mt_bench" if isinstance(spec, c.MTBench) else "alpaca_eval"
    identity = GivenIdentity(questions=family, sha256=file_sha256(file), limit=run.limit)
    take = partial(stages.take_answers, file=file, family=family, items=items)
    model = _model(file)
    return verdicts_step(run, name, Step("given", identity, take, label=model), model, wires, fetch=fetch)


def _there(file: Path) -> Path:
    if not file.is_file():
        raise UserError(f"{file}: {'is a folder' if file.is_dir() else 'there is no such file'}")
    return file


def _items(file: Path, run: c.Run, spec: c.MTBench | c.AlpacaEval) -> frozenset[object]:
    """The items that are asked, each of which has one answer in the file.

    Raises:
        UserError: told of the user's file, and before anything is made of it.
    """
    if isinstance(spec, c.MTBench):
        questions, item = places.asset(run, "mt_bench/question"), mt_bench.ITEM
        known: list[Any] = list(mt_bench.asked(questions, None))
        asked, answers = list(mt_bench.asked(questions, run.limit)), mt_bench.read_answers(file)
    else:
        official, item = places.asset(run, "alpaca_eval/reference_outputs_v2"), alpaca_eval.ITEM
        known = [row[item] for row in read_rows(official, (item,))]
        asked, answers = known[: run.limit], read_rows(file, (item, "output"))
    check_one_to_each(file, [row[item] for row in answers], asked, known=known, item=item)
    return frozenset(asked)


def _model(file: Path) -> str:
    """Whose answers a file holds: FastChat's `model_id`, alpaca_eval's `generator`."""
    rows = read_rows(file)
    names = {str(row.get("model_id") or row.get("generator") or UNKNOWN) for row in rows}
    if len(names) > 1:
        raise UserError(
            f"{file}: holds answers of several models: {', '.join(sorted(names)[:5])}; give one file for each"
        )
    return names.pop()


def _row(score: Score, model: str, file: Path, sweep: str, step: str | None = None) -> Row:
    """A model is one cell, whichever files its verdicts are in; answers judged here are one by their content."""
    made = file_sha256(file) if file.is_file() else folder_sha256(file)
    cell = sha256(f"{model} {made if step else ''}".encode()).hexdigest()[:8]
    source = f"{file.name} (sha256 {made[:12]})"
    return Row(
        sweep=sweep,
        cell=cell,
        model=model,
        dataset=UNKNOWN,
        subset=None,
        loss=UNKNOWN,
        seed=0,
        step=step or made[:8],
        examples=None,
        ratio=None,
        **asdict(replace(score, source=source)),
    )


def _write(run: c.Training, sweep: str, rows: Sequence[Row]) -> None:
    """Beside what the sweep had from other files or judges; two files of the same content are one.

    Raises:
        UserError: two files that say different things of the same.
    """
    new: dict[tuple[str, ...], Row] = {}
    for row in rows:
        known = new.setdefault(row.place, row)
        if known.step != row.step:
            whose = f"{row.judge}'s " if row.judge else ""
            raise UserError(
                f"{known.source} and {row.source}: both have {whose}{row.task} of {row.model}; give one"
            )
    steps = {row.step for row in rows}
    write_ledger(
        run.paths.results / FILE,
        sweep,
        new.values(),
        keep=lambda row: row.step not in steps and row.place not in new,
    )


def shown_rows(rows: Sequence[Row]) -> Table:
    """Rows of the ledger for a person; what is beside a benchmark's score is as a rule in the ledger alone."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("Model", "Task", "Score", "Error", "Items", "Judge", "Source"):
        table.add_column(heading, justify="right" if heading in ("Score", "Error", "Items") else "left")
    scored = {(row.model, row.benchmark) for row in rows if row.task == row.benchmark}
    for row in rows:
        if row.task in BESIDE or row.task == row.benchmark or (row.model, row.benchmark) not in scored:
            items = f"{row.count}" if row.count == row.total else f"{row.count} of {row.total}"
            score, error = (
                "n/a" if number is None else f"{number * to_percent(row):.2f}"
                for number in (row.value, row.stderr)
            )
            source = (row.source or "").split(" (")[0]
            table.add_row(*map(escape, (row.model, row.task, score, error, items, row.judge or "", source)))
    return table


def shown_agreement(ours: Judged, theirs: Judged, found: Sequence[Agreement]) -> Table:
    """Agreement for a person."""
    title = f"{ours.benchmark}, {ours.model}: {ours.judge} and {theirs.judge}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=escape(title), title_justify="left")
    means = (f"Mean, {escape(each.judge)}" for each in (ours, theirs))
    headings = ("Category", "Items", "Same", "Kappa", "Quadratic", "Spearman", *means)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "Category" else "right")
    for each in found:
        numbers = (each.kappa, each.kappa_quadratic, each.spearman, each.mean_first, each.mean_second)
        words = ("n/a" if number is None else f"{number:.3f}" for number in numbers)
        table.add_row(escape(each.category), str(each.items), f"{each.same:.1%}", *words)
    return table


def compared_as_json(ours: Judged, theirs: Judged, found: Sequence[Agreement]) -> dict[str, object]:
    """Agreement for a script."""
    return {
        "benchmark": ours.benchmark,
        "model": ours.model,
        "judges": [ours.judge, theirs.judge],
        "agreement": [asdict(each) for each in found],
    }
