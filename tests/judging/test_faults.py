"""Whole passes through a judge that fails three times in ten, by clients that are killed on the way."""

import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from judge_server import REFUSAL, UNDECIDED, JudgeServer, Sent, digest, evenly, read_sent, whole
from tenacity import wait_random_exponential

from im_bench.config import Price, Served
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation import alpaca_eval, mt_bench
from im_bench.judging import api, open_judge
from im_bench.judging.judge import Judge, Rating, Reply, Request
from im_bench.judging.verdicts import FILE, Verdicts
from im_bench.scores import read_scores

CONCURRENCY = 16
TIMEOUT, PATIENT = 0.5, 30.0
"""Seconds of one try, where the server fails and where it does not."""
FAULTS = 0.3
KILLS = 3
MODEL = {"model": "judge-1", "temperature": 0.0, "body": {}}


class Files(NamedTuple):
    """What is judged, and by which questions."""

    answers: Path
    """A folder with answers of both benchmarks."""
    references: dict[int, Path]
    """Of each version of AlpacaEval."""
    mt_bench: dict[str, Path]


def open_at(url: str, results: Path, *, timeout: float = PATIENT) -> Judge:
    spec = Served(
        name="judge",
        kind="openai",
        base_url=url,
        api_key_env=None,
        concurrency=CONCURRENCY,
        timeout_seconds=timeout,
        deadline_seconds=60,
        price=Price(prompt=10, answer=30, date="2026-11-01"),
        **MODEL,
    )
    return open_judge(spec, results)


def judge_all(files: Files, open_one: Callable[[], Judge], out: Path) -> None:
    """Both versions of AlpacaEval and MT-Bench, each into a folder of its own, as one cell's steps would."""
    for version, references in files.references.items():
        folder = out / f"alpaca_eval_{version}"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"version": version, "references": references, "gold": files.references[2], "seed": 0}
        alpaca_eval.judge(folder, files.answers, open_one(), **wanted)
    (out / "mt_bench").mkdir(exist_ok=True)
    mt_bench.judge(out / "mt_bench", files.answers, open_one(), **files.mt_bench)


class Listening:
    """A judge that remembers what it is asked."""

    def __init__(self, judge: Judge, heard: list[Request]) -> None:
        self.judge, self.heard = judge, heard
        self.name, self.note = judge.name, judge.note

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        self.heard += requests
        return self.judge.replies(requests)


def faultless(files: Files, folder: Path) -> list[Request]:
    """Judge all with a server that never fails; what was asked."""
    folder.mkdir()
    heard: list[Request] = []
    with serving(folder / "sent.jsonl") as url:
        judge_all(files, lambda: Listening(open_at(url, folder), heard), folder)
    sent = read_sent(folder / "sent.jsonl")
    assert set(whole(sent).values()) == {1}
    assert len(sent) == len(heard)
    return heard


# --- what must be so, whatever happened on the way ---


def check_verdicts(out: Path, judged: int) -> dict[str, int]:
    """Every verdict is there once; one that does not parse is counted, and its text is kept."""
    unparsed = {}
    for version in (1, 2):
        rows = read_rows(out / f"alpaca_eval_{version}" / alpaca_eval.ANNOTATIONS)
        assert len(rows) == len({row["instruction"] for row in rows}) == judged
        silent = [row["preference_raw_completion"] for row in rows if row["preference"] is None]
        texts = [said["text"] if isinstance(said, dict) else said for said in silent]
        score = read_scores(out / f"alpaca_eval_{version}")[0]
        assert (score.total, score.count) == (judged, judged - len(silent))
        unparsed[score.task] = check_unparsed(texts)
    rows = read_rows(out / "mt_bench" / mt_bench.JUDGMENTS)
    turns = {(row["question_id"], row["turn"]) for row in rows}
    texts = [row["judgment"] for row in rows if row["score"] == mt_bench.UNRATED]
    score = read_scores(out / "mt_bench")[0]
    assert len(rows) == len(turns) == score.total == score.count + len(texts)
    return unparsed | {score.task: check_unparsed(texts)}


def check_unparsed(texts: list[str]) -> int:
    assert set(texts) <= {REFUSAL, UNDECIDED}
    return len(texts)


def check_scores(out: Path, plain: Path) -> None:
    for name in ("alpaca_eval_1", "alpaca_eval_2", "mt_bench"):
        # With value, count, total and stderr, and the tokens and dollars besides.
        assert read_scores(out / name) == read_scores(plain / name)


def check_kept(out: Path, requests: Sequence[Request]) -> None:
    assert kept(out) == set(keys(requests))


def keys(requests: Sequence[Request]) -> dict[str, str]:
    """Digests of what is asked, by the keys under which replies are kept."""
    book = Verdicts(Path(FILE), MODEL)
    return {book.key(request): digest(request.messages) for request in requests}


def kept(results: Path) -> set[str]:
    if not (results / FILE).exists():
        return set()
    with closing(sqlite3.connect(results / FILE, timeout=60)) as file:
        found = [key for (key,) in file.execute("SELECT key FROM verdicts")]
    assert len(found) == len(set(found))
    return set(found)


# --- a small world, and one process ---


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy would be asked even for the loopback."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small(tmp_path) -> Files:
    """40 instructions and 6 questions."""
    folder = tmp_path / "small"
    folder.mkdir()
    rows = [(f"Say {i} in words.", f"It is {i}.", f"The number {i}.", f"{i}, of course.") for i in range(40)]
    for place, name in ((1, alpaca_eval.ANSWERS), (2, "weak.json"), (3, "strong.json")):
        outputs = [{"instruction": row[0], "output": row[place], "generator": name} for row in rows]
        write_rows(folder / name, outputs)
    questions, answers = [], []
    for number, category in enumerate(("writing", "math", "stem") * 2):
        turns = [f"What of {category} {number}?", "And then?"]
        choices = [{"index": 0, "turns": ["This.", f"That {number}."]}]
        questions.append({"question_id": number, "category": category, "turns": turns})
        answers.append({"question_id": number, "model_id": "mine", "choices": choices})
    fields = {"single-v1": "{question}|{answer}", "single-v1-multi-turn": "{question_1}|{answer_2}"}
    fields |= {
        name.replace("single", "single-math"): f"{text}|{{ref_answer_1}}" for name, text in fields.items()
    }
    prompts = [
        {"name": name, "system_prompt": name, "prompt_template": text} for name, text in fields.items()
    ]
    files = {"questions": questions, "references": answers, "prompts": prompts}
    for name, content in files.items():
        write_rows(folder / f"{name}.jsonl", content)
    write_rows(folder / mt_bench.ANSWERS, answers)
    references = {1: folder / "weak.json", 2: folder / "strong.json"}
    return Files(folder, references, {name: folder / f"{name}.jsonl" for name in files})


def shorter(multiplier: float, max: float) -> wait_random_exponential:
    """Between two tries there is a 25th of the time."""
    return wait_random_exponential(multiplier / 25, max)


def test_a_server_that_fails_three_times_in_ten_changes_no_score(small, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "wait_random_exponential", shorter)
    asked = faultless(small, tmp_path / "plain")
    assert len(asked) == 92
    out = tmp_path / "out"
    out.mkdir()
    with JudgeServer(latency=0.01, faults=evenly(FAULTS), seed=1, hang=3 * TIMEOUT) as server:
        judge_all(small, lambda: open_at(server.url, out, timeout=TIMEOUT), out)
    assert {sent.fault for sent in server.sent} >= set(evenly(1))
    assert sum(check_verdicts(out, judged=40).values()) > 0
    check_scores(out, tmp_path / "plain")
    check_kept(out, asked)
    assert whole(server.sent) == {each: 1 for each in keys(asked).values()}


# --- two processes ---


def test_two_processes_with_the_same_judge_ask_every_prompt_once(tmp_path):
    requests = questions()
    with JudgeServer(latency=0.3) as server, asking(server, tmp_path) as one, asking(server, tmp_path) as two:
        go(one)
        until(lambda: server.bodies)
        go(two)
        told = [process.communicate(timeout=60) for process in (one, two)]
    (first, calm), (second, waited) = told
    assert "waiting for another process" in waited
    assert "waiting for another process" not in calm
    assert json.loads(first) == json.loads(second)
    assert len(json.loads(first)) == len(requests)
    assert whole(server.sent) == {digest(request.messages): 1 for request in requests}
    assert len(server.sent) == len(requests)


def questions() -> list[Request]:
    return [
        Request([{"role": "user", "content": f"question {i}"}], Rating("", "", None), 7) for i in range(60)
    ]


@contextmanager
def asking(server: JudgeServer, results: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that will ask the judge `questions`, and print the replies."""
    with child("ask", server.url, results, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- real files, and clients that are killed ---


@pytest.fixture
def real(shared, tmp_path) -> Files:
    """805 answers to AlpacaEval and 80 to MT-Bench, each of two turns."""
    alpaca, talk = shared / "data/alpaca_eval", shared / "data/mt_bench"
    folder = tmp_path / "answers"
    folder.mkdir()
    write_rows(folder / alpaca_eval.ANSWERS, read_rows(alpaca / "model_outputs/vicuna-13b.jsonl"))
    write_rows(folder / mt_bench.ANSWERS, read_rows(talk / "model_answer/mamba_0_5_dpo_ep1.jsonl"))
    references = {
        1: alpaca / "reference_outputs/alpaca_eval_v1_reference_text_davinci_003.jsonl",
        2: alpaca / "reference_outputs/gpt4_1106_preview.jsonl",
    }
    names = {"questions": "question", "references": "reference_answer_gpt-4", "prompts": "judge_prompts"}
    return Files(folder, references, {each: talk / f"{name}.jsonl" for each, name in names.items()})


def alike(files: Files) -> int:
    """Answers that are those they are compared with: a tie, for which the package asks nobody."""
    given = {row["instruction"]: row["output"] for row in read_rows(files.answers / alpaca_eval.ANSWERS)}
    rivals = [row for path in files.references.values() for row in read_rows(path)]
    return len([row for row in rivals if row["output"] == given[row["instruction"]]])


class Kill(NamedTuple):
    """A client that was killed."""

    at: float
    kept: set[str]
    """Keys of the verdicts that were in the file then."""


@pytest.mark.slow
def test_clients_that_are_killed_and_a_server_that_fails_lose_and_repeat_nothing(real, tmp_path):
    asked = faultless(real, tmp_path / "plain")
    assert len(asked) == 2 * 805 + 160 - alike(real)
    out, record = tmp_path / "out", tmp_path / "sent.jsonl"
    out.mkdir()
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    began = time.monotonic()
    with serving(record, latency=0.02, faults=FAULTS, seed=seed, hang=3 * TIMEOUT) as url:
        kills = [
            judge_until_killed(real, url, out, partial(reaches, record, moment)) for moment in moments(seed)
        ]
        with judging(real, url, out) as last:
            assert last.wait(timeout=300) == 0
    sent, seconds = read_sent(record), time.monotonic() - began
    unparsed = check_verdicts(out, judged=805)
    check_scores(out, tmp_path / "plain")
    check_kept(out, asked)
    again = check_paid_once(sent, keys(asked), kills)
    tell(sent, kills, again, unparsed, seconds)


def moments(seed: int) -> list[int]:
    """Before which of some 2,500 requests a client is killed: one moment in each third of the way."""
    draw = random.Random(seed)
    return [draw.randrange(800 * third + 60, 800 * third + 700) for third in range(KILLS)]


def judge_until_killed(files: Files, url: str, out: Path, is_time: Callable[[], bool]) -> Kill:
    with judging(files, url, out) as process:
        until(is_time)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    at = time.time()
    return Kill(at, kept(out))


def reaches(record: Path, number: int) -> bool:
    return record.read_bytes().count(b"\n") >= number


def check_paid_once(sent: Sequence[Sent], asked: dict[str, str], kills: Sequence[Kill]) -> int:
    """Nothing that was kept is asked again, and only what a kill cut off gets a second good reply; so many prompts."""
    assert {each.prompt for each in sent} == set(asked.values())
    assert 0 < len(kills[0].kept) < len(kills[-1].kept) < len(asked)
    for kill in kills:
        known = {asked[key] for key in kill.kept}
        assert [each for each in sent if each.prompt in known and each.at > kill.at] == []
    times = whole(sent)
    assert set(times) == set(asked.values())
    again = [prompt for prompt, number in times.items() if number > 1]
    assert len(again) <= CONCURRENCY * len(kills)
    assert sum(times.values()) - len(asked) <= CONCURRENCY * len(kills)
    return len(again)


def tell(sent: Sequence[Sent], kills: Sequence[Kill], again: int, unparsed: dict, seconds: float) -> None:
    faults = {fault: len([each for each in sent if each.fault == fault]) for fault in (*evenly(1), "left")}
    print(
        f"{len(sent)} requests for {sum(map(bool, whole(sent)))} verdicts in {seconds:.1f} s; faults: {faults}"
    )
    print(
        f"kept at the kills: {[len(kill.kept) for kill in kills]}; asked again after a whole reply: {again}"
    )
    print(f"unparsed: {unparsed}")


@contextmanager
def serving(record: Path, **options: float) -> Iterator[str]:
    """A server in a process of its own, which outlives its clients."""
    program = Path(__file__).parents[1] / "judge_server.py"
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with running([program, record, *words]) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


def judging(files: Files, url: str, out: Path):
    return child("judge", url, out, files.answers, *files.references.values(), *files.mt_bench.values())


def child(*words: str | Path, **options: object):
    """This file as a program."""
    return running([__file__, *words], **options)


@contextmanager
def running(words: Sequence[str | Path], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A Python that ends with this block."""
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def main(task: str, url: str, out: str, *paths: str) -> None:
    """What a child does."""
    api.wait_random_exponential = shorter
    if task == "ask":
        logging.basicConfig(level=logging.INFO)
        judge = open_at(url, Path(out))
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(judge.replies(questions())))
    else:
        answers, first, second, *rest = map(Path, paths)
        files = dict(zip(("questions", "references", "prompts"), rest, strict=True))
        judge_all(
            Files(answers, {1: first, 2: second}, files),
            lambda: open_at(url, Path(out), timeout=TIMEOUT),
            Path(out),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
