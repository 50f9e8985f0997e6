"""The seam between benchmarks and judges: a benchmark makes requests, a judge replies to each of them.

A request carries the same matter twice: as the messages that a language model reads, and as fields for a
judge that reads no prompts. What a reply means is the benchmark's affair; a cache, a budget or a file of
verdicts is one more judge in front of another.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from im_bench.config import UserError

Number = TypeVar("Number", int, float)

log = logging.getLogger(__name__)


class Rating(NamedTuple):
    """One answer to be rated from 1 to 10, as `[[rating]]`."""

    question: str
    answer: str
    reference: str | None


class Comparison(NamedTuple):
    """Two answers, of which the better is to be named."""

    question: str
    answers: tuple[str, str]
    """In the order in which the judge sees them."""
    labels: tuple[str, str]
    """What the prompt calls them."""
    reference: str | None
    """A good answer, not among what the judge reads."""
    rival: str = ""
    """Whose answer one of the two is."""


@dataclass(frozen=True)
class Request:
    """One question to a judge."""

    messages: list[dict[str, str]]
    """Chat messages, with `role` and `content`."""
    subject: Rating | Comparison
    max_tokens: int
    """Of the reply."""
    top_logprobs: int = 0
    """How many alternatives of the reply's first token are wanted with their log-probabilities."""
    seed: int = 0
    """Of the sampling, where the judge samples."""
    usual_tokens: int = 1
    """Of a reply, as a rule: for estimates."""


class Bill(NamedTuple):
    """What replies took; None where somebody did not say."""

    prompt_tokens: int | None = 0
    answer_tokens: int | None = 0
    cost: float | None = 0.0
    """US dollars."""

    def plus(self, other: Bill) -> Bill:
        """Both together; unknown if one is."""
        return Bill(
            _sum(self.prompt_tokens, other.prompt_tokens),
            _sum(self.answer_tokens, other.answer_tokens),
            _sum(self.cost, other.cost),
        )


def _sum(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


UNKNOWN = Bill(None, None, None)


class Reply(NamedTuple):
    """What a judge said."""

    text: str
    first_token: dict[str, float] | None = None
    """Log-probability of each alternative of the first token, where the request wanted them."""
    bill: Bill = UNKNOWN
    """For a judge that is free, or of whom nobody knows, nothing is known."""
    refused: bool = False
    """Whether these are the words of a server that does not pass the request on: no verdict, whatever they say."""


def spoken(text: str) -> str:
    """What is said after thinking, where a server hands over both."""
    return text.rpartition("</think>")[2]


def tell_mute(judge: str, unparsed: Sequence[object], of: int) -> None:
    """A pass without a single verdict is told with what was said instead."""
    if unparsed and len(unparsed) == of:
        said = " ".join(str(unparsed[0]).split())[:200]
        log.warning("judge %s: none of its %d verdicts could be read; the first says: %s", judge, of, said)


def total(replies: Iterable[Reply | None]) -> Bill:
    """The bill of all replies; a request without a reply took nothing."""
    whole = Bill()
    for reply in replies:
        whole = whole.plus(reply.bill) if reply is not None else whole
    return whole


class Stop(Protocol):
    """An event, of threads or of processes."""

    def is_set(self) -> bool:
        """Whether somebody has said stop."""


class Stopped(UserError):
    """Somebody said stop; what came until then is kept."""


class Judge(Protocol):
    """Whoever replies to requests."""

    @property
    def name(self) -> str:
        """As in tables; scores by different names never share a column."""

    @property
    def note(self) -> str | None:
        """What a table must say of this judge."""

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        """One reply per request, in order; None where the judge has nothing to say.

        Raises:
            UserError: when no request can succeed (no key, no such model, nobody at the address), or no more may.
        """
