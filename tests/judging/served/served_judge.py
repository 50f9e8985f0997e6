"""A judge behind the chat completions protocol, and what its server answers."""

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from judge_server import Answer, completion, error, usage

from im_bench.config import Price, Served
from im_bench.judging.judge import Rating, Request
from im_bench.judging.verdicts import FILE

KEY = "k-123456"
PRICE = Price(prompt=1000, answer=2000, date="2026-11-01")


def spec_at(url: str, **changes: object) -> Served:
    spec = Served(
        name="served",
        kind="openai",
        model="some-model",
        temperature=0.25,
        base_url=url,
        api_key_env="IM_BENCH_TEST_KEY",
        concurrency=4,
        timeout_seconds=5,
        deadline_seconds=30,
    )
    return spec.model_copy(update=changes)


def asked(text: str, **changes: object) -> Request:
    message = {"role": "user", "content": text}
    return Request(**{"messages": [message], "subject": Rating(text, "", None), "max_tokens": 7} | changes)


def questions(number: int) -> list[Request]:
    return [asked(f"question {i:03d}") for i in range(number)]


def echo(body: dict) -> Answer:
    return Answer(200, completion(f"{body['messages'][-1]['content']}!"))


def billed_echo(body: dict) -> Answer:
    text = f"{body['messages'][-1]['content']}!"
    return Answer(200, completion(text) | {"usage": usage(body, text)})


def picky(body: dict) -> Answer:
    is_long = body["messages"][-1]["content"].startswith("long")
    return error(400, "the prompt is too long") if is_long else echo(body)


def on_request(number: int, answer: Callable[[dict], Answer]) -> Callable[[dict], Answer]:
    """An echo, but for one request, the first being 0."""
    numbers = itertools.count()
    return lambda body: (answer if next(numbers) == number else echo)(body)


def from_request(
    number: int, answer: Callable[[dict], Answer], before: Callable[[dict], Answer] = echo
) -> Callable[[dict], Answer]:
    """An echo until this request."""
    numbers = itertools.count()
    return lambda body: (answer if next(numbers) >= number else before)(body)


def kept(folder: Path, column: str = "text") -> list:
    with closing(sqlite3.connect(folder / FILE)) as file:
        return [value for (value,) in file.execute(f"SELECT {column} FROM verdicts")]
