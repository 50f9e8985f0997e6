"""Who grades and compares answers."""

from __future__ import annotations

from datetime import date as Date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from im_bench.config.benchmark import AlpacaEval, Benchmark
from im_bench.config.values import Count, Frozen, NotNegative, Positive, checked_address

UNNAMED = "UNNAMED"
"""The judge of a config that names none, where that is no error but one thing among others that are missing."""


class Price(Frozen):
    """What a served judge takes, in US dollars per million tokens."""

    prompt: NotNegative
    answer: NotNegative
    date: Date
    """When it was so: prices change."""


class AnyJudge(Frozen):
    """What every kind of judge has."""

    name: Annotated[str, Field(min_length=1)]
    """The judge's name in tables."""
    pairwise: Literal["own", "ranking"] = "own"
    """How two answers are compared: as each version of AlpacaEval does (2.0 weighs the log-probabilities of one token),
    or by the ranking prompt of 1.0 in both."""
    both_orders: bool = False
    """Whether two answers are shown in both orders, their preferences being averaged, so that a disagreement is a tie;
    else each pair is shown once, in an order drawn by alpaca_eval."""

    @property
    def label(self) -> str:
        """The name, with whatever makes this another judge than the plain one of that name."""
        ways = [*self._other(), *(["ranking"] if self.pairwise == "ranking" else [])]
        ways += ["both orders"] if self.both_orders else []
        return f"{self.name} ({', '.join(ways)})" if ways else self.name

    def _other(self) -> list[str]:
        return []


class Overlap(AnyJudge):
    """Offline and deterministic: token F1 against reference answers."""

    kind: Literal["overlap"]


class Replay(AnyJudge):
    """Verdicts that somebody's judge has given: FastChat's judgments or alpaca_eval's annotations."""

    kind: Literal["replay"]
    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """One, or several."""

    @field_validator("files", mode="before")
    @classmethod
    def one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


OF_A_REQUEST = frozenset(
    {"model", "messages", "temperature", "seed", "n", "stream", "logprobs", "top_logprobs"}
)
OF_A_REQUEST_SAYS = (
    "judge.model and judge.temperature have keys of their own, and the rest is the benchmark's"
)


class Served(AnyJudge):
    """A language model behind any OpenAI-compatible endpoint."""

    kind: Literal["openai"]
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    """Null sends none, for models that take none."""
    body: dict[str, Any] = {}
    """More of each request, e.g. `{reasoning_effort: low}`; with `max_completion_tokens`, `max_tokens` is not sent."""
    base_url: str | None
    """Any OpenAI-compatible endpoint; null is the SDK's default."""
    api_key_env: str | None
    """Name of the environment variable that holds the key; the key itself is never in a config."""
    concurrency: Count
    """Requests at once; fewer where the server's rate limits say so."""
    timeout_seconds: Positive
    """Of one try."""
    deadline_seconds: Positive
    """Of one verdict with all its tries; then the pass stops, and keeps what it has."""
    price: Price | None = None
    budget: Positive | None = None
    """US dollars that the verdicts of this judge, all that are kept in paths.results together, may cost."""
    tokenizer: str | None = None
    """Hub id or folder of the judge's tokenizer, for estimates; null is the cell's own."""
    retired: str | None = None
    """For a model that is no longer served: since when, and by whom."""

    def _other(self) -> list[str]:
        sampling = [] if self.temperature == 0 else [f"temperature {self.temperature}"]
        return sampling + [f"{key} {value}" for key, value in sorted(self.body.items())]

    @field_validator("base_url")
    @classmethod
    def it_is_an_address(cls, value: str | None) -> str | None:
        return checked_address(value, "judge")

    @field_validator("body")
    @classmethod
    def body_leaves_what_has_its_own_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in OF_A_REQUEST & value.keys():
            raise ValueError(f"judge.body.{key}: is not for you to say here; {OF_A_REQUEST_SAYS}")
        for key in ("max_tokens", "max_completion_tokens"):
            if key in value and (not isinstance(value[key], int) or value[key] < 1):
                raise ValueError(f"judge.body.{key}={value[key]}: give a number of tokens from 1")
        return value

    @model_validator(mode="after")
    def a_budget_needs_a_price(self) -> Self:
        if self.budget is not None and self.price is None:
            raise ValueError(
                "judge.budget: needs judge.price, in US dollars per million tokens, e.g. "
                "'judge.price={prompt: 2.5, answer: 10, date: 2026-11-01}'"
            )
        return self


Judge = Annotated[Overlap | Replay | Served, Field(discriminator="kind")]


def judge_for(judge: Judge, spec: Benchmark) -> Judge:
    """The judge as one benchmark uses it: ways that it does not know make no other judge of it."""
    both_orders = judge.both_orders and isinstance(spec, AlpacaEval)
    ranks = isinstance(spec, AlpacaEval) and spec.version == 2
    pairwise = judge.pairwise if ranks else "own"
    return judge.model_copy(update={"both_orders": both_orders, "pairwise": pairwise})
