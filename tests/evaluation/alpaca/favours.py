"""Answers to a few instructions, and a judge that likes one word."""

from collections.abc import Sequence
from pathlib import Path

from im_bench.data.rows import write_rows
from im_bench.evaluation import alpaca_eval
from im_bench.judging.judge import Comparison, Reply, Request
from im_bench.scores import Score, read_scores

INSTRUCTIONS = [f"Name {colour}." for colour in ("red", "green", "blue", "pink", "grey", "white")]
GOLD = [{"instruction": each, "output": f"{each} indeed", "generator": "strong"} for each in INSTRUCTIONS]
WEAK = [{"instruction": each, "output": "no words", "generator": "weak"} for each in INSTRUCTIONS]


class Favours:
    """A judge that likes one word and dislikes `worse`; it remembers what it was asked."""

    name, note = "favours", None

    def __init__(self, word: str, *, silent: frozenset[str] = frozenset(), mute: str | None = None) -> None:
        self.word = word
        self.silent = silent
        self.mute = mute
        self.requests: list[Request] = []

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        self.requests += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply | None:
        assert isinstance(request.subject, Comparison)
        if request.subject.question in self.silent:
            return None if self.mute is None else Reply(self.mute, {"Sorry": -0.1})
        first, second = ((self.word in each) - ("worse" in each) for each in request.subject.answers)
        label = request.subject.labels[int(second > first)]
        ranks = [{"model": each, "rank": 1 if each == label else 2} for each in request.subject.labels]
        return Reply(str(ranks), {label: -0.01, "Both": -9.0})


def answers(tmp_path: Path, outputs: Sequence[str]) -> Path:
    (tmp_path / "answers").mkdir(exist_ok=True)
    rows = [
        {"instruction": instruction, "output": output, "generator": "mine", "dataset": "d"}
        for instruction, output in zip(INSTRUCTIONS, outputs, strict=False)
    ]
    write_rows(tmp_path / "answers" / alpaca_eval.ANSWERS, rows)
    return tmp_path / "answers"


def headline(out: Path) -> Score:
    return read_scores(out)[0]
