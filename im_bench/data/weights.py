"""From parts to weights: what a point in the loss space makes of a conversation's tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from im_bench.data.encoding import Encoded
from im_bench.data.released import Markers, unmarked
from im_bench.data.templates import Part
from im_bench.identity import LossIdentity


class Example(NamedTuple):
    """What is trained on; the arrays are of one length t."""

    ids_t: NDArray[np.int64]
    weights_t: NDArray[np.float32]
    """Loss weight of each token as a target; the first is never a target and has weight 0."""
    outputs: int
    """Tokens of output and end among the targets."""


def weigh(encoded: Encoded, loss: LossIdentity, markers: Markers = ()) -> Example:
    """Give each token its weight in the loss.

    Args:
        markers: of `im_bench.data.released`, for `labels: released_im`.
    """
    match loss.labels:
        case "parts":
            weights_t = _by_part(encoded, loss)
        case "released_it":
            weights_t = ((encoded.parts_t >= Part.OUTPUT) | encoded.strays_t).astype(np.float32)
        case "released_im":
            weights_t = unmarked(encoded.ids_t, markers).astype(np.float32)
        case _:
            raise AssertionError(loss.labels)
    weights_t[0] = 0.0
    return Example(encoded.ids_t, weights_t, outputs=int((encoded.parts_t[1:] >= Part.OUTPUT).sum()))


def _by_part(encoded: Encoded, loss: LossIdentity) -> NDArray[np.float32]:
    prompt = loss.prompt_weight if _prompt_counts(encoded, loss) else 0.0
    # In the order of `Part`: template, system, instruction, output, end.
    of_parts = (loss.template_weight, prompt, prompt, loss.output_weight, loss.output_weight)
    weights_t = np.array(of_parts, dtype=np.float32)[encoded.parts_t]
    if loss.turns == "last" and encoded.has_output:
        outputs_t = encoded.parts_t >= Part.OUTPUT
        weights_t[outputs_t & (encoded.turns_t < encoded.turns_t[outputs_t].max())] = 0.0
    return weights_t


def _prompt_counts(encoded: Encoded, loss: LossIdentity) -> bool:
    """Whether a conversation's prompt is long enough to carry loss.

    Its length is system and instruction, in tokens; that of its output is without the end.
    """
    if not (loss.prompt_min_tokens or loss.prompt_min_ratio):
        return True
    counts = np.bincount(encoded.parts_t, minlength=len(Part))
    prompt = counts[Part.SYSTEM] + counts[Part.INSTRUCTION]
    return bool(prompt >= loss.prompt_min_tokens and prompt >= loss.prompt_min_ratio * counts[Part.OUTPUT])
