"""From parts to weights, and from examples to the batches of one optimiser step.

An optimiser step is a set of examples. Cutting it into micro-batches is only a way to lay that set out:
the denominator belongs to the step, so the gradient does not depend on the cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from im_bench.data.encoding import Encoded
from im_bench.data.templates import Part
from im_bench.identity import LossIdentity


class Example(NamedTuple):
    ids: list[int]
    weights: list[float]
    """Loss weight of each token as a target; the first is never a target and has weight 0."""
    outputs: int
    """Tokens of output and end among the targets."""


class MicroBatch(NamedTuple):
    """b examples padded on the right to t tokens."""

    ids_bt: Tensor
    mask_bt: Tensor
    weights_bt: Tensor


class StepBatch(NamedTuple):
    """One optimiser step: its loss is the weighted sum over all micro-batches, divided by the denominator."""

    micro_batches: list[MicroBatch]
    denominator: float
    supervised_tokens: int
    tokens: int


def weigh(encoded: Encoded, loss: LossIdentity) -> Example:
    """Give each token the weight of its part."""
    weight = {
        Part.TEMPLATE: loss.template_weight,
        Part.SYSTEM: loss.prompt_weight,
        Part.INSTRUCTION: loss.prompt_weight,
        Part.OUTPUT: loss.output_weight,
        Part.END: loss.output_weight,
    }
    weights = [0.0, *(weight[part] for part in encoded.parts[1:])]
    return Example(encoded.ids, weights, outputs=sum(part >= Part.OUTPUT for part in encoded.parts[1:]))


def step_batch(examples: Sequence[Example], *, average: str, max_tokens: int) -> StepBatch:
    """Lay out one optimiser step.

    Args:
        average: the denominator. `example`: each example's weights are scaled to sum to 1, over the number
            of examples (what the published code computes with micro-batches of one). `token`: the sum of
            weights. `nonzero`: the count of tokens with weight (WIT, arXiv 2507.07817). `output`: the count
            of output tokens, so that loss on the prompt does not shrink the output's share.
        max_tokens: most tokens of a micro-batch, padding included; a longer example is one alone.
    """
    supervised = sum(sum(weight > 0 for weight in example.weights) for example in examples)
    match average:
        case "example":
            examples = [_scaled(example) for example in examples]
            denominator = float(sum(any(example.weights) for example in examples))
        case "token":
            denominator = sum(sum(example.weights) for example in examples)
        case "nonzero":
            denominator = float(supervised)
        case "output":
            denominator = float(sum(example.outputs for example in examples))
        case _:
            raise AssertionError(average)
    return StepBatch(
        micro_batches=[_pad(group) for group in _groups(examples, max_tokens)],
        denominator=max(denominator, 1e-9),
        supervised_tokens=supervised,
        tokens=sum(len(example.ids) for example in examples),
    )


def step_order(num_examples: int, *, global_batch: int, epochs: int, seed: int) -> list[list[int]]:
    """Which examples make each optimiser step: a shuffle an epoch, whose last step may be short."""
    steps = []
    for epoch in range(epochs):
        order = list(range(num_examples))
        random.Random(f"{seed}/order/{epoch}").shuffle(order)
        steps += [order[start : start + global_batch] for start in range(0, num_examples, global_batch)]
    return steps


def _scaled(example: Example) -> Example:
    total = sum(example.weights)
    return example._replace(weights=[weight / total for weight in example.weights]) if total else example


def _groups(examples: Sequence[Example], max_tokens: int) -> Iterator[list[Example]]:
    """Examples of like length together, so that little is padding."""
    group: list[Example] = []
    for example in sorted(examples, key=lambda example: len(example.ids)):
        if group and len(example.ids) * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _pad(examples: Sequence[Example]) -> MicroBatch:
    # Which token pads does not matter: it is masked, comes last and has no weight.
    length = max(len(example.ids) for example in examples)
    missing = [length - len(example.ids) for example in examples]
    rows = list(zip(examples, missing, strict=True))
    return MicroBatch(
        ids_bt=torch.tensor([example.ids + [0] * pad for example, pad in rows]),
        mask_bt=torch.tensor([[1] * len(example.ids) + [0] * pad for example, pad in rows]),
        weights_bt=torch.tensor([example.weights + [0.0] * pad for example, pad in rows]),
    )
