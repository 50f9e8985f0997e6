"""Text to token ids, and the part of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from im_bench.config import UserError
from im_bench.data.conversations import Conversation
from im_bench.data.templates import Part, spans

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Encoded(NamedTuple):
    row: int
    """Of the conversation in its file."""
    ids: list[int]
    parts: list[Part]
    """As many as `ids`."""
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
        if any(part >= Part.OUTPUT for part in encoded.parts):
            kept.append(encoded)
        else:
            dropped.append(conversation.row)
    if not kept:
        raise UserError(f"{where}: train.max_tokens={max_tokens} cuts off the output of every conversation")
    return Encoding(kept, dropped)


def _encode(tokenizer: PreTrainedTokenizerFast, conversation: Conversation, max_tokens: int) -> Encoded:
    cut = spans(tokenizer, conversation.turns)
    parts_of_characters = [span.part for span in cut for _ in span.text]
    text = "".join(span.text for span in cut)
    # A template that writes the BOS itself gets no second one; the harness generates by the same rule.
    has_bos = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    tokens = tokenizer(text, add_special_tokens=not has_bos, return_offsets_mapping=True)
    ids = tokens["input_ids"]
    parts = [
        max(parts_of_characters[start:end], default=Part.TEMPLATE)
        for start, end in tokens["offset_mapping"][:max_tokens]
    ]
    return Encoded(conversation.row, ids[:max_tokens], parts, truncated=len(ids) > max_tokens)
