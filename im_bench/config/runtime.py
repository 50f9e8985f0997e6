"""The machine that a cell runs on."""

from __future__ import annotations

from typing import Literal

from im_bench.config.values import Count, Frozen


class Runtime(Frozen):
    """The machine."""

    device: Literal["cpu", "cuda"]
    micro_batch_tokens: Count
    """Most tokens, padding included, that one forward pass of training holds."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = "sdpa"
    layout: Literal["auto", "buckets", "packed"] = "auto"
    """How an optimiser step lies in micro-batches: examples of like length side by side, or end to end in one row.
    `auto` packs where attention skips what is masked."""
    processes: Count = 1
    """Of one training, each on a device of its own."""
    parallel: Literal["ddp", "fsdp"] = "fsdp"
    """Whether several processes each hold the whole model or a shard of it (FSDP2)."""
    save_steps: Count
    """Optimiser steps between two saved training states, from which an interrupted training goes on."""
    threads: Count | None
    """CPU threads of torch; null leaves torch's choice."""

    @property
    def packed(self) -> bool:
        """Whether examples lie end to end."""
        if self.layout == "auto":
            return self.attention.startswith(("flash", "flex"))
        return self.layout == "packed"
