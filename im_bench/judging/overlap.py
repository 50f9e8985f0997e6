"""The offline judge: word overlap with a reference. Deterministic, free, and no language model.

It stands in where no judge can be had (a demo, a test, a machine without network), and speaks the words
that the benchmarks' own parsers read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from im_bench.judging.forms import preferring
from im_bench.judging.judge import Comparison, Rating, Reply, Request

NOTE = "judge: overlap (token F1 against references, offline; not an LLM judge)"


def note_of(name: str) -> str | None:
    """What must be said of verdicts that are in a file, by the name of their judge."""
    return NOTE if name == "overlap" or name.startswith("overlap (") else None


@dataclass(frozen=True)
class OverlapJudge:
    """Judges by token F1; without a reference it has no verdict."""

    name: str

    @property
    def note(self) -> str:
        return NOTE

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        return [_reply(request) for request in requests]


def token_f1(answer: str, reference: str) -> float:
    """F1 of the lower-cased words of two texts, each word counted as often as both have it; 0 to 1."""
    ours, theirs = _words(answer), _words(reference)
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def _reply(request: Request) -> Reply | None:
    subject = request.subject
    if subject.reference is None:
        return None
    match subject:
        case Rating(answer=answer):
            return Reply(f"[[{1 + 9 * token_f1(answer, subject.reference):.1f}]]")
        case Comparison(answers=answers):
            first, second = (token_f1(answer, subject.reference) for answer in answers)
            return preferring(request, first / (first + second) if first + second else 0.5)
