"""The seam between benchmarks and judges: a benchmark makes requests, a judge replies to each of them.

A request carries the same matter twice: as the messages that a language model reads, and as fields for a
judge that reads no prompts. What a reply means is the benchmark's affair; a cache, a budget or a file of
verdicts is one more judge in front of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


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


class Reply(NamedTuple):
    """What a judge said."""

    text: str
    first_token: dict[str, float] | None = None
    """Log-probability of each alternative of the first token, where the request wanted them."""


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
            UserError: when no request can succeed (no key, no such model, nobody at the address).
        """
