"""Text to token ids, and the part of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from im_bench.config import UserError
from im_bench.data.conversations import Conversation
from im_bench.data.templates import Part, spans

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Encoded(NamedTuple):
    """One conversation in tokens; the arrays are of one length t."""

    row: int
    """Of the conversation in its file."""
    ids_t: NDArray[np.int64]
    parts_t: NDArray[np.int8]
    """Values of `Part`."""
    turns_t: NDArray[np.int16]
    """Index of the turn a token belongs to; role markers belong to the turn that they introduce."""
    strays_t: NDArray[np.bool_]
    """Template tokens that the published code's IT leaves in its loss, see `im_bench.data.released`."""
    truncated: bool


class Encoding(NamedTuple):
    """What a dataset becomes under one tokenizer; the same for every loss."""

    kept: list[Encoded]
    dropped: list[int]
    """Rows whose output was cut off whole by `max_tokens`, so that IT has nothing to learn from them."""


def encode(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation], *, max_tokens: int, where: str
) -> Encoding:
    """Encode conversations, cut on the right to `max_tokens`.

    A token's part is that of its characters; one that straddles a boundary belongs to the later-trained
    part: end and output before instruction and system before template. Tokens without characters (a BOS
    that the tokenizer adds) are template.

    Raises:
        UserError: naming `where` and the row, when the template cannot be aligned; or when nothing is left.
    """
    kept, dropped = [], []
    for conversation in conversations:
        try:
            encoded = _encode(tokenizer, conversation, max_tokens)
        except UserError as error:
            raise UserError(f"{where}, row {conversation.row + 1}: {error}") from None
        if (encoded.parts_t >= Part.OUTPUT).any():
            kept.append(encoded)
        else:
            dropped.append(conversation.row)
    if not kept:
        raise UserError(f"{where}: train.max_tokens={max_tokens} cuts off the output of every conversation")
    return Encoding(kept, dropped)


def _encode(tokenizer: PreTrainedTokenizerFast, conversation: Conversation, max_tokens: int) -> Encoded:
    cut = spans(tokenizer, conversation.turns)
    text = "".join(span.text for span in cut)
    # A template that writes the BOS itself gets no second one; the harness generates by the same rule.
    has_bos = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    tokens = tokenizer(text, add_special_tokens=not has_bos, return_offsets_mapping=True)
    ids = np.array(tokens["input_ids"], dtype=np.int64)
    starts_t, stops_t = np.array(tokens["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    stops_s = np.cumsum([len(span.text) for span in cut])
    # Parts rise with what is trained later, so that of a straddling token is the greatest.
    parts_of_characters = np.repeat([span.part for span in cut], [len(span.text) for span in cut])
    parts = [
        max(parts_of_characters[start:stop], default=Part.TEMPLATE)
        for start, stop in zip(starts_t, stops_t, strict=True)
    ]
    turns = np.searchsorted(stops_s, starts_t, side="right") * 0
    return Encoded(
        conversation.row,
        ids[:max_tokens],
        np.array(parts, dtype=np.int8)[:max_tokens],
        turns.astype(np.int16)[:max_tokens],
        np.zeros(len(ids), dtype=np.bool_)[:max_tokens],
        truncated=len(ids) > max_tokens,
    )
