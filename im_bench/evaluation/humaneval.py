"""HumanEval: functions completed by the model from the raw prompt, run against the problems' tests.

The protocol is the one of "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374): n samples
per problem, cut at its stop strings, pass@k by its unbiased estimator. The standard error is over problems.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from im_bench import config
from im_bench.config import UserError
from im_bench.counting import Follow, Tally, nobody
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engines.asking import cut
from im_bench.evaluation.sandbox import Outcome, Program, run_programs
from im_bench.items import write_items
from im_bench.scores import Score, write_scores

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
CPU_SECONDS = 3.0
MEMORY_MIB = 1024
PROBLEMS_PER_CHUNK = 3
"""What is generated, and saved, at once."""

SAMPLES = "samples.jsonl"

log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """One row of HumanEval; `test` defines `check(candidate)`."""

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str

    @property
    def item(self) -> str:
        """Its name by content, for pairing items across runs."""
        return hashlib.sha256(f"{self.prompt}\0{self.test}".encode()).hexdigest()

    def program(self, completion: str) -> Program:
        """The prompt completed; the bare prompt stands beside the test, which may use its other functions."""
        return Program(
            self.prompt + completion, self.test, self.entry_point, setup=_without_body(self.prompt)
        )


class Size(NamedTuple):
    """Tokens of a prompt, and how many of them, from its beginning, the model had no room for."""

    prompt: int
    cut: int


@dataclass(frozen=True)
class Draw:
    """Which of a problem's samples."""

    task_id: str
    temperature: float
    index: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of `k` passes, unbiased, when `c` of `n` did: 1 - C(n-c, k) / C(n, k)."""
    assert 0 <= c <= n and 1 <= k <= n
    return 1 - comb(n - c, k) / comb(n, k)


def load_problems(path: str, revision: str | None, rows: str | None = None) -> list[Problem]:
    """The problems of a folder in hub layout, or of a dataset on the hub.

    Args:
        rows: where `datasets` keeps what it reads, see `im_bench.evaluation.harness.evaluate`.

    Raises:
        UserError: they cannot be had, or a row is not a problem.
    """
    import datasets  # slow to import, and needed here only

    try:
        loaded = list(datasets.load_dataset(path, revision=revision, split="test", cache_dir=rows))
    except (OSError, ValueError) as error:  # what it raises for the absent, unreachable or malformed
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: {first}. Without network, paths.hub=FOLDER can serve it") from error
    problems = [_problem(row, f"{path}, row {number}") for number, row in enumerate(loaded)]
    doubles = [name for name, count in Counter(problem.task_id for problem in problems).items() if count > 1]
    if doubles:
        raise UserError(f"{path}: task_id {doubles[0]} is there more than once; each problem needs its own")
    if not problems:
        raise UserError(f"{path}: there are no problems")
    return problems


def _problem(row: dict[str, Any], where: str) -> Problem:
    for field in Problem._fields:
        if not isinstance(row.get(field), str):
            raise UserError(f"{where}: needs the text column `{field}`")
    problem = Problem(**{field: row[field] for field in Problem._fields})
    for name, source in (("prompt", _without_body(problem.prompt)), ("test", problem.test)):
        try:
            compile(source, where, "exec")
        except SyntaxError as error:
            raise UserError(f"{where}: `{name}` is not Python ({error.msg}, line {error.lineno})") from None
    return problem


def evaluate(
    out: Path,
    engine: Engine,
    problems: Sequence[Problem],
    *,
    spec: config.HumanEval,
    seed: int,
    follow: Follow = nobody,
) -> None:
    """Score HumanEval into `out`: `samples.jsonl`, `items.parquet` and one score per temperature.

    Samples that an interrupted run left are kept; the same seed gives the same samples, interrupted or not.
    """
    prompts = {problem.task_id: engine.text_prompt(problem.prompt) for problem in problems}
    completions = _sample(out, engine, problems, prompts, spec, seed, follow)
    by_id = {problem.task_id: problem for problem in problems}
    programs = [by_id[draw.task_id].program(completion) for draw, completion in completions.items()]
    outcomes = dict(
        zip(completions, run_programs(programs, cpu_seconds=CPU_SECONDS, memory_mib=MEMORY_MIB), strict=True)
    )
    write_rows(
        out / SAMPLES, (_row(draw, completions[draw]) | outcomes[draw]._asdict() for draw in completions)
    )
    sizes = {
        problem.task_id: Size(
            len(prompts[problem.task_id]), engine.num_cut(prompts[problem.task_id], spec.max_new_tokens)
        )
        for problem in problems
    }
    written: Counter[tuple[str, float]] = Counter()
    for draw, completion in completions.items():
        written[draw.task_id, draw.temperature] += engine.num_tokens(completion)
    items = _items(problems, outcomes, completions, spec, sizes, written)
    write_items(out, items)
    write_scores(out, _scores(items, spec))


def _sample(
    out: Path,
    engine: Engine,
    problems: Sequence[Problem],
    prompts: Mapping[str, Sequence[int]],
    spec: config.HumanEval,
    seed: int,
    follow: Follow,
) -> dict[Draw, str]:
    """All completions by temperature, problem and index, those in `out` first; saved after each chunk."""
    done = _saved(out)
    total = sum(len(list(_draws(problems, temperature, spec))) for temperature in spec.temperatures)
    tally = Tally(total, follow)
    tally.more(len(done))
    for temperature in spec.temperatures:
        for start in range(0, len(problems), PROBLEMS_PER_CHUNK):
            chunk = problems[start : start + PROBLEMS_PER_CHUNK]
            draws = list(_draws(chunk, temperature, spec))
            if all(draw in done for draw in draws):
                continue
            texts = engine.generate(
                [prompts[draw.task_id] for draw in draws],
                max_new_tokens=spec.max_new_tokens,
                temperature=temperature,
                seed=Random(f"{seed}/humaneval/{temperature}/{start}").getrandbits(32),
                top_p=spec.top_p,
                stop=STOP,
                done=tally.more,
            )
            done |= zip(draws, (cut(text, STOP) for text in texts), strict=True)
            write_rows(out / SAMPLES, (_row(draw, completion) for draw, completion in done.items()))
            log.info("humaneval: %d programs written", len(done))
    return done


def _draws(problems: Sequence[Problem], temperature: float, spec: config.HumanEval) -> Iterator[Draw]:
    """Greedy decoding writes the same program every time, so one sample tells all."""
    for problem in problems:
        for index in range(spec.samples if temperature > 0 else 1):
            yield Draw(problem.task_id, temperature, index)


def _saved(out: Path) -> dict[Draw, str]:
    path = out / SAMPLES
    rows = read_rows(path) if path.exists() else []
    return {Draw(row["task_id"], row["temperature"], row["index"]): row["completion"] for row in rows}


def _row(draw: Draw, completion: str) -> dict[str, object]:
    return asdict(draw) | {"completion": completion}


def _items(
    problems: Sequence[Problem],
    outcomes: dict[Draw, Outcome],
    completions: Mapping[Draw, str],
    spec: config.HumanEval,
    sizes: Mapping[str, Size],
    written: Mapping[tuple[str, float], int],
) -> list[dict[str, Any]]:
    """One row per temperature and problem; `outcome` is its pass@1, the answer its first sample."""
    drawn = Counter((draw.task_id, draw.temperature) for draw in outcomes)
    passed = Counter((draw.task_id, draw.temperature) for draw, outcome in outcomes.items() if outcome.passed)
    return [
        {
            "task": "humaneval",
            "metric": metric(temperature),
            "item": problem.item,
            "task_id": problem.task_id,
            "num_samples": drawn[key],
            "num_passed": passed[key],
            "stratum": "",
            "cluster": None,
            "outcome": pass_at_k(drawn[key], passed[key], 1),
            "size": 1.0,
            "question": problem.prompt,
            "answer": completions[Draw(problem.task_id, temperature, 0)],
            "target": None,
            "verdict": f"{passed[key]} of {drawn[key]} programs pass",
            "prompt_tokens": sizes[problem.task_id].prompt,
            "answer_tokens": written[key],
            "cut_tokens": sizes[problem.task_id].cut,
        }
        for temperature in spec.temperatures
        for problem in problems
        for key in [(problem.task_id, temperature)]
    ]


def metric(temperature: float) -> str:
    """The score's name in the ledger; a table says its temperature from it."""
    return f"pass@1,temperature={temperature:g}"


def _scores(items: Sequence[dict[str, Any]], spec: config.HumanEval) -> Iterator[Score]:
    entry = BENCHMARKS["humaneval"]
    for place, temperature in enumerate(spec.temperatures):
        mine = [item for item in items if item["metric"] == metric(temperature)]
        values = [item["outcome"] for item in mine]
        yield Score(
            benchmark="humaneval",
            category=entry.category,
            task="humaneval",
            metric=metric(temperature),
            value=fmean(values),
            stderr=stdev(values) / sqrt(len(values)) if len(values) > 1 else None,
            count=len(values),
            total=len(values),
            direction=entry.direction,
            reading_note="in the published reading only" if place else None,
            truncated=sum(item["cut_tokens"] > 0 for item in mine),
        )


def _without_body(prompt: str) -> str:
    return f"{prompt}\n    pass\n"
