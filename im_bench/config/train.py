"""How the weights are optimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from im_bench.config.values import Count, Fraction, Frozen, NotNegative, Positive


class Lora(Frozen):
    """Low-rank updates instead of all weights."""

    rank: Count
    alpha: Count
    """The updates are scaled by alpha / rank."""
    dropout: Fraction


class Train(Frozen):
    """Everything of the optimisation that changes the weights it ends in."""

    epochs: Count
    global_batch: Count
    """Conversations in one optimiser step, however they are split over micro-batches."""
    max_tokens: Annotated[int, Field(ge=8)]
    """Longer conversations are cut on the right."""
    learning_rate: Positive
    warmup_ratio: Fraction
    schedule: Literal["linear", "cosine", "constant"]
    weight_decay: NotNegative
    beta1: Fraction
    beta2: Fraction
    epsilon: Positive
    max_grad_norm: NotNegative
    """Gradient clipping; 0 is none."""
    precision: Literal["fp32", "bf16"]
    """Of the arithmetic; weights are kept in fp32 while they train, and saved in this."""
    lora: Lora | None = None
    """None trains all weights."""
    save_epochs: bool = False
    """Whether a checkpoint is kept after every epoch: `epochs/N` of the step's folder, and itself for the last."""
