"""What a checkpoint is scored on, by who runs it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from im_bench.config.values import Count, Fraction, Frozen


class Harness(Frozen):
    """One benchmark of lm-evaluation-harness; its tasks and metric are in evaluation/benchmarks.py."""

    runner: Literal["harness"]
    shots: Annotated[int, Field(ge=0)] | None
    """Examples in the prompt; null keeps what the task itself says."""
    prompt: Literal["raw", "chat"] = "raw"
    """The task's text as it is, as in the paper, or as a user's turn in the checkpoint's chat template."""


class HumanEval(Frozen):
    """Programs written by the model, run in the sandbox."""

    runner: Literal["humaneval"]
    samples: Count
    """Programs per problem and temperature."""
    temperatures: Annotated[tuple[Annotated[float, Field(ge=0, le=2)], ...], Field(min_length=1)]
    """The first is the score; the `published` reading takes the best of all."""
    top_p: Fraction
    max_new_tokens: Count

    @field_validator("temperatures")
    @classmethod
    def temperatures_differ(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{each:g}" for each in value}) < len(value):  # as scores are named by them
            raise ValueError(
                f"benchmark.humaneval.temperatures={list(value)}: one is there more than once; each needs its own"
            )
        return value


class MTBench(Frozen):
    """Two-turn questions, graded 1 to 10 by the judge."""

    runner: Literal["mt_bench"]
    max_new_tokens: Count
    """Per turn."""


class AlpacaEval(Frozen):
    """Win rate against the reference model of AlpacaEval 1.0 or 2.0, by the judge."""

    runner: Literal["alpaca_eval"]
    version: Literal[1, 2]
    max_new_tokens: Count
    length_controlled: bool = False
    """Whether the length-controlled win rate of 2.0 is computed beside the plain one."""

    @model_validator(mode="after")
    def length_control_is_of_2(self) -> Self:
        if self.length_controlled and self.version == 1:
            raise ValueError("benchmark.alpaca_eval_1.length_controlled: length control is of AlpacaEval 2.0")
        return self


Benchmark = Annotated[Harness | HumanEval | MTBench | AlpacaEval, Field(discriminator="runner")]
