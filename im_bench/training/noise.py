"""NEFTune (arXiv 2310.05914): uniform noise on the input embeddings while training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from im_bench.data.batching import Segment


@contextmanager
def noisy(embedding: nn.Module, segments: Sequence[Segment], alpha: float) -> Iterator[None]:
    """Within it, what `embedding` gives has noise; nothing is done where `alpha` is 0."""
    if not alpha:
        yield
        return

    def add(module: nn.Module, inputs: tuple[Tensor, ...], embedded_btd: Tensor) -> Tensor:
        return embedded_btd + noise(embedded_btd, segments, alpha)

    handle = embedding.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def noise(embedded_btd: Tensor, segments: Sequence[Segment], alpha: float) -> Tensor:
    """Uniform in +-alpha / sqrt(length * d) on each example's own tokens, and 0 on padding.

    The length is the example's, not that of the padded batch as in the published code, and the seed is the
    example's in its step, so that the noise does not depend on how the step is laid out.
    """
    noise_btd = torch.zeros_like(embedded_btd)
    for segment in segments:
        length, width = segment.stop - segment.start, embedded_btd.shape[-1]
        bound = alpha / math.sqrt(length * width)
        generator = torch.Generator(embedded_btd.device).manual_seed(segment.seed)
        drawn_td = torch.rand(
            (length, width), generator=generator, device=embedded_btd.device, dtype=torch.float32
        )
        noise_btd[segment.row, segment.start : segment.stop] = (drawn_td * 2 - 1) * bound
    return noise_btd
