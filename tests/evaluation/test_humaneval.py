"""HumanEval's estimator, samples, resume and scores."""

import json
from fractions import Fraction
from itertools import combinations

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from im_bench import config
from im_bench.config import UserError
from im_bench.evaluation import humaneval
from im_bench.evaluation.engines.asking import cut
from im_bench.evaluation.humaneval import Problem, evaluate, load_problems, pass_at_k
from im_bench.evaluation.sandbox import run_programs
from im_bench.scores import read_scores

COLD, WARM = 0.1, 0.7

PROBLEMS = [
    Problem(
        "own/0",
        'def twice(x):\n    """Double."""\n',
        "    return 2 * x\n",
        "def check(c): assert c(2) == 4",
        "twice",
    ),
    Problem("own/1", "def thrice(x):\n", "    return 3 * x\n", "def check(c): assert c(2) == 6", "thrice"),
    Problem(
        "own/2",
        "def one():\n    return 1\n\ndef two():\n",
        "    return one() + one()\n",
        "def check(c): assert c() == one() + 1",
        "two",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


class Student:
    """Writes the right body for `knows`, a wrong one otherwise, and every other sample of own/1 right."""

    def __init__(self, knows=(), breaks_after=10**9):
        self.knows = knows
        self.calls = []
        self.breaks_after = breaks_after

    def text_prompt(self, text):
        return text

    def num_cut(self, prompt, max_new_tokens):
        return 0

    def num_tokens(self, text):
        return len(text.split())

    def generate(self, prompts, *, max_new_tokens, temperature, seed, top_p, stop, done):
        if len(self.calls) == self.breaks_after:
            raise KeyboardInterrupt
        self.calls.append({"prompts": len(prompts), "temperature": temperature, "seed": seed, "stop": stop})
        by_prompt = {problem.prompt: problem for problem in PROBLEMS}
        texts = []
        for place, prompt in enumerate(prompts):
            problem = by_prompt[prompt]
            right = problem.task_id in self.knows or (problem.task_id == "own/1" and place % 2)
            texts.append((problem.canonical_solution if right else "    return 0\n") + f"\nprint({seed})\n")
        return texts


def spec(samples=4, temperatures=(COLD,)):
    return config.HumanEval(
        runner="humaneval", samples=samples, temperatures=temperatures, top_p=0.95, max_new_tokens=64
    )


def rows(out):
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def test_pass_at_k_by_hand():
    assert pass_at_k(20, 0, 1) == 0
    assert pass_at_k(20, 20, 1) == 1
    assert pass_at_k(20, 5, 1) == 0.25
    assert pass_at_k(4, 1, 2) == 0.5  # of the six pairs, three hold the one that passed
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9)  # one triple of ten holds neither
    assert pass_at_k(3, 2, 2) == 1  # no pair avoids both


def test_pass_at_k_is_the_share_of_subsets_with_a_pass():
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(combinations([True] * c + [False] * (n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(
                    float(Fraction(sum(map(any, subsets)), len(subsets)))
                )


def test_a_completion_ends_at_the_first_stop_string():
    assert cut("    return 1\n# done\nprint(2)", humaneval.STOP) == "    return 1"
    whole = "    if x:\n        return 1\n    # fine\n    print(x)\n"
    assert cut(whole, humaneval.STOP) == whole


def test_scores_are_the_mean_over_problems_with_its_error(tmp_path):
    evaluate(tmp_path, Student(knows=("own/0",)), PROBLEMS, spec=spec(), seed=0)
    (score,) = read_scores(tmp_path)
    assert (score.benchmark, score.category, score.task) == ("humaneval", "math_code", "humaneval")
    assert score.metric == "pass@1,temperature=0.1"
    assert score.value == pytest.approx((1 + 0.5 + 0) / 3)
    assert score.stderr == pytest.approx(0.5 / 3**0.5)  # sample deviation of 1, 0.5 and 0 is 0.5
    assert (score.count, score.total, score.direction) == (3, 3, "higher")


def test_items_can_be_paired_across_runs(tmp_path):
    evaluate(tmp_path, Student(knows=("own/0",)), PROBLEMS, spec=spec(), seed=0)
    items = pandas.read_parquet(tmp_path / "items.parquet")
    assert list(items["task_id"]) == ["own/0", "own/1", "own/2"]
    assert list(items["num_passed"]) == [4, 2, 0]
    assert list(items["num_samples"]) == [4, 4, 4]
    assert list(items["outcome"]) == [1, 0.5, 0]
    assert list(items["item"]) == [problem.item for problem in PROBLEMS]


def test_samples_tell_why_they_failed(tmp_path):
    evaluate(tmp_path, Student(knows=("own/0", "own/2")), PROBLEMS, spec=spec(samples=2), seed=0)
    assert [(row["task_id"], row["passed"], row["reason"]) for row in rows(tmp_path)] == [
        ("own/0", True, "passed"),
        ("own/0", True, "passed"),
        ("own/1", False, "AssertionError"),
        ("own/1", True, "passed"),
        ("own/2", True, "passed"),
        ("own/2", True, "passed"),
    ]
    assert rows(tmp_path)[0]["completion"] == "    return 2 * x\n"


def test_every_temperature_is_scored_and_the_first_has_no_note(tmp_path):
    student = Student(knows=("own/0", "own/2"))
    evaluate(tmp_path, student, PROBLEMS, spec=spec(temperatures=(COLD, WARM)), seed=0)
    scores = read_scores(tmp_path)
    assert [score.metric for score in scores] == ["pass@1,temperature=0.1", "pass@1,temperature=0.7"]
    assert [score.reading_note is None for score in scores] == [True, False]
    assert [call["temperature"] for call in student.calls] == [COLD, WARM]
    assert all(call["stop"] == humaneval.STOP for call in student.calls)


def test_greedy_decoding_needs_one_sample(tmp_path):
    student = Student()
    evaluate(tmp_path, student, PROBLEMS, spec=spec(temperatures=(0.0,)), seed=0)
    assert student.calls[0]["prompts"] == 3


def test_an_interrupted_run_ends_in_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(humaneval, "PROBLEMS_PER_CHUNK", 1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    both = spec(temperatures=(COLD, WARM))
    evaluate(whole, Student(knows=("own/0",)), PROBLEMS, spec=both, seed=3)
    with pytest.raises(KeyboardInterrupt):
        evaluate(parts, Student(knows=("own/0",), breaks_after=4), PROBLEMS, spec=both, seed=3)
    assert len(rows(parts)) == 4 * 4
    student = Student(knows=("own/0",))
    evaluate(parts, student, PROBLEMS, spec=both, seed=3)
    assert len(student.calls) == 2
    for name in ("samples.jsonl", "scores.json", "items.parquet"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_seeds_differ_by_run_temperature_and_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(humaneval, "PROBLEMS_PER_CHUNK", 1)
    seeds = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        out.mkdir()
        student = Student()
        evaluate(out, student, PROBLEMS, spec=spec(samples=1, temperatures=(COLD, WARM)), seed=seed)
        seeds += [call["seed"] for call in student.calls]
    assert len(set(seeds)) == 2 * 2 * 3


def hub_folder(folder, **columns):
    table = pyarrow.table(
        {field: [getattr(p, field) for p in PROBLEMS] for field in Problem._fields} | columns
    )
    (folder / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "data/test-00000-of-00001.parquet")
    return str(folder)


def test_problems_are_read_from_a_folder_in_hub_layout(tmp_path):
    assert load_problems(hub_folder(tmp_path / "own"), None) == PROBLEMS


def test_bad_problems_are_named(tmp_path):
    with pytest.raises(UserError, match="row 0: needs the text column `test`"):
        load_problems(hub_folder(tmp_path / "a", test=[1, 2, 3]), None)
    with pytest.raises(UserError, match=r"row 1: `test` is not Python \(.*, line 1\)"):
        load_problems(hub_folder(tmp_path / "b", test=["x = 1", "def check(c) pass", "x = 1"]), None)
    with pytest.raises(UserError, match="task_id own/1 is there more than once"):
        load_problems(hub_folder(tmp_path / "c", task_id=["own/0", "own/1", "own/1"]), None)
    with pytest.raises(UserError, match="paths.hub=FOLDER can serve it"):
        load_problems(str(tmp_path / "absent"), None)


@pytest.fixture(scope="module")
def official(shared):
    return load_problems(str(shared / "hub/openai/openai_humaneval"), None)


def pass_rate(problems, completion, **options):
    programs = [problem.program(completion(problem)) for problem in problems]
    outcomes = run_programs(programs, cpu_seconds=3, memory_mib=1024, **options)
    failed = [
        (problem.task_id, outcome.reason)
        for problem, outcome in zip(problems, outcomes, strict=True)
        if not outcome.passed
    ]
    return 1 - len(failed) / len(problems), failed


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_the_official_solutions_pass_whatever_the_number_of_workers(official, workers):
    assert len(official) == 164
    assert pass_rate(official, lambda problem: problem.canonical_solution, workers=workers) == (1.0, [])


@pytest.mark.parametrize(
    "body", ["    return None\n", "    pass\n", "    raise NotImplementedError\n", "  return 1\n"]
)
def test_wrong_bodies_of_the_official_problems_score_nothing(official, body):
    assert pass_rate(official, lambda problem: body)[0] == 0
