"""From parts to weights: what a point in the loss space makes of a conversation's tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from im_bench.data.encoding import Encoded
from im_bench.data.templates import Part
from im_bench.identity import LossIdentity


class Example(NamedTuple):
    """What is trained on; the arrays are of one length t."""

    ids_t: NDArray[np.int64]
    weights_t: NDArray[np.float32]
    """Loss weight of each token as a target; the first is never a target and has weight 0."""
    outputs: int
    """Tokens of output and end among the targets."""


def weigh(encoded: Encoded, loss: LossIdentity) -> Example:
    """Give each token the weight of its part."""
    weights = np.zeros(len(Part), dtype=np.float32)
    weights[Part.TEMPLATE] = loss.template_weight
    weights[[Part.SYSTEM, Part.INSTRUCTION]] = loss.prompt_weight
    weights[[Part.OUTPUT, Part.END]] = loss.output_weight
    weights_t = weights[encoded.parts_t]
    weights_t[0] = 0.0
    return Example(encoded.ids_t, weights_t, outputs=int((encoded.parts_t[1:] >= Part.OUTPUT).sum()))
