"""The published code's labels (ZhengxiangShi/InstructionModelling, commit 325b77e), to the token.

Its IT (`--use_lm_loss` off) takes every turn that is no output out of the loss, with the assistant's role marker after
it. What stays is more than outputs and their ends: the newline that closes an output, and the role marker of an
assistant that answers nobody. `im_bench.data.templates` marks these as strays.

Its IM (`--use_lm_loss`) looks for three marker strings, each encoded as a text of its own, and takes their exact
matches out. A tokenizer that adds a BOS puts one into each of them, so that only the start of the text can match;
and one of the three is misspelt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Markers = tuple[tuple[int, ...], ...]
MARKERS = ("wa\n", "<|system|>\n", "<|user|>\n")


def markers(tokenizer: PreTrainedTokenizerFast) -> Markers:
    """The token ids that the published IM looks for."""
    return tuple(tuple(tokenizer(marker)["input_ids"]) for marker in MARKERS)


def unmarked(ids_t: NDArray[np.int64], found: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    """Which tokens are in no match of a marker, and so in the loss of the published IM."""
    kept_t = np.ones(len(ids_t), dtype=np.bool_)
    for marker in found:
        for start in np.flatnonzero(ids_t == marker[0]):
            if tuple(ids_t[start : start + len(marker)]) == tuple(marker):
                kept_t[start : start + len(marker)] = False
    return kept_t
