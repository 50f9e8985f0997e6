"""From examples to the batches of one optimiser step.

An optimiser step is a set of examples. Cutting it into micro-batches, packing it into rows and sharing it among
processes are only ways to lay that set out: the denominator belongs to the step, so the gradient does not
depend on the layout.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from im_bench.data.weights import Example


class Segment(NamedTuple):
    """Where an example lies in its micro-batch."""

    row: int
    start: int
    stop: int
    seed: int
    """Of the noise on this example in this step, wherever it lies."""


# No NamedTuple: FSDP2 would find the weights in it, and cast them to the precision of the model's inputs.
@dataclass(frozen=True, eq=False)
class MicroBatch:
    """b rows of t tokens: one example each, padded on the right; or one row of examples end to end, unpadded."""

    ids_bt: Tensor
    positions_bt: Tensor
    """From 0 in every example, by which attention keeps packed examples apart."""
    mask_bt: Tensor | None
    """1 where a token is no padding; None where nothing is padded."""
    weights_bt: Tensor
    segments: tuple[Segment, ...]

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return MicroBatch(
            ids_bt=self.ids_bt.to(device),
            positions_bt=self.positions_bt.to(device),
            mask_bt=None if self.mask_bt is None else self.mask_bt.to(device),
            weights_bt=self.weights_bt.to(device),
            segments=self.segments,
        )


class StepBatch(NamedTuple):
    """One optimiser step: its loss is the weighted sum over all micro-batches, divided by the denominator."""

    micro_batches: list[MicroBatch]
    denominator: float
    supervised_tokens: int
    lengths: list[int]
    """Tokens of each example."""


def step_batch(
    examples: Sequence[Example],
    *,
    average: str,
    max_tokens: int,
    packed: bool = False,
    seeds: Sequence[int] | None = None,
) -> StepBatch:
    """Lay out one optimiser step.

    Args:
        average: the denominator. `example`: each example's weights are scaled to sum to 1, over the number
            of examples (what the published code computes with micro-batches of one). `token`: the sum of
            weights. `nonzero`: the count of tokens with weight (WIT, arXiv 2507.07817). `output`: the count
            of output tokens, so that loss on the prompt does not shrink the output's share.
        max_tokens: most tokens of a micro-batch, padding included; a longer example is one alone.
        packed: put examples end to end, instead of examples of like length side by side.
        seeds: of the noise on each example.
    """
    supervised = [int(np.count_nonzero(example.weights_t)) for example in examples]
    match average:
        case "example":
            examples = [_scaled(example) for example in examples]
            denominator = float(np.count_nonzero(supervised))
        case "token":
            denominator = sum(float(example.weights_t.sum(dtype=np.float64)) for example in examples)
        case "nonzero":
            denominator = float(sum(supervised))
        case "output":
            denominator = float(sum(example.outputs for example in examples))
        case _:
            raise AssertionError(average)
    seeded = list(zip(examples, seeds or [0] * len(examples), strict=True))
    lay_out, join = (_bins, _end_to_end) if packed else (_buckets, _side_by_side)
    return StepBatch(
        micro_batches=[join(group) for group in lay_out(seeded, max_tokens)],
        denominator=max(denominator, 1e-9),
        supervised_tokens=sum(supervised),
        lengths=[len(example.ids_t) for example in examples],
    )


def share(micro_batches: Sequence[MicroBatch], *, rank: int, ranks: int) -> list[MicroBatch]:
    """One process's micro-batches: as many for each process, which wait for each other at every one.

    Balanced by tokens: dealt from the largest down, there and back. A process that is one short gets a
    micro-batch in which nothing is supervised.
    """
    dealt = sorted(micro_batches, key=lambda batch: batch.ids_bt.numel(), reverse=True)
    rounds = [dealt[start : start + ranks] for start in range(0, len(dealt), ranks)]
    places = [rank if number % 2 == 0 else ranks - 1 - rank for number in range(len(rounds))]
    return [
        cards[place] if place < len(cards) else _SILENT for cards, place in zip(rounds, places, strict=True)
    ]


def step_order(num_examples: int, *, global_batch: int, epochs: int, seed: int) -> list[list[int]]:
    """Which examples make each optimiser step: a shuffle an epoch, whose last step may be short."""
    steps = []
    for epoch in range(epochs):
        order = list(range(num_examples))
        random.Random(f"{seed}/order/{epoch}").shuffle(order)
        steps += [order[start : start + global_batch] for start in range(0, num_examples, global_batch)]
    return steps


def noise_seed(seed: int, step: int, example: int) -> int:
    """63 bits of their own for each example in each step."""
    digest = hashlib.sha256(f"{seed}/noise/{step}/{example}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


Seeded = tuple[Example, int]


def _scaled(example: Example) -> Example:
    total = example.weights_t.sum(dtype=np.float64)
    return example._replace(weights_t=example.weights_t / total) if total else example


def _buckets(examples: Sequence[Seeded], max_tokens: int) -> Iterator[list[Seeded]]:
    """Examples of like length together, so that little is padding."""
    group: list[Seeded] = []
    for example in sorted(examples, key=_length):
        if group and _length(example) * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _bins(examples: Sequence[Seeded], max_tokens: int) -> Iterator[list[Seeded]]:
    """Best-fit decreasing: each example, from the longest down, in the fullest row that has room for it."""
    bins: list[list[Seeded]] = []
    rooms: list[int] = []
    for example in sorted(examples, key=_length, reverse=True):
        fitting = [place for place, room in enumerate(rooms) if room >= _length(example)]
        if fitting:
            best = min(fitting, key=rooms.__getitem__)
            bins[best].append(example)
            rooms[best] -= _length(example)
        else:
            bins.append([example])
            rooms.append(max_tokens - _length(example))
    yield from bins


def _side_by_side(group: Sequence[Seeded]) -> MicroBatch:
    # Which token pads does not matter: it is masked, comes last and has no weight.
    shape = (len(group), max(map(_length, group)))
    ids_bt, mask_bt = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    weights_bt = np.zeros(shape, dtype=np.float32)
    for row, (example, _) in enumerate(group):
        length = len(example.ids_t)
        ids_bt[row, :length], weights_bt[row, :length], mask_bt[row, :length] = *example[:2], 1
    return MicroBatch(
        ids_bt=torch.from_numpy(ids_bt),
        positions_bt=torch.arange(shape[1]).expand(shape).contiguous(),
        mask_bt=None if mask_bt.all() else torch.from_numpy(mask_bt),
        weights_bt=torch.from_numpy(weights_bt),
        segments=tuple(Segment(row, 0, len(one.ids_t), seed) for row, (one, seed) in enumerate(group)),
    )


def _end_to_end(group: Sequence[Seeded]) -> MicroBatch:
    stops = np.cumsum([_length(example) for example in group]).tolist()
    starts = [0, *stops[:-1]]
    return MicroBatch(
        ids_bt=torch.from_numpy(np.concatenate([example.ids_t for example, _ in group]))[None],
        positions_bt=torch.cat([torch.arange(_length(example)) for example in group])[None],
        mask_bt=None,
        weights_bt=torch.from_numpy(np.concatenate([example.weights_t for example, _ in group]))[
            None
        ].float(),
        segments=tuple(
            Segment(0, start, stop, seed) for start, stop, (_, seed) in zip(starts, stops, group, strict=True)
        ),
    )


def _length(seeded: Seeded) -> int:
    return len(seeded[0].ids_t)


_SILENT = MicroBatch(
    ids_bt=torch.zeros((1, 1), dtype=torch.long),
    positions_bt=torch.zeros((1, 1), dtype=torch.long),
    mask_bt=None,
    weights_bt=torch.zeros((1, 1)),
    segments=(),
)
