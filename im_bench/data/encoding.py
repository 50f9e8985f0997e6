"""Text to token ids, and the part of each token.

Control tokens (an end of turn, a BOS) are those that the template writes. The same strings within a content are
text: they are encoded by a twin of the tokenizer that knows its control tokens by other names.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding as Fast
from tokenizers import Tokenizer

from im_bench.config import UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.files import at
from im_bench.data.templates import CONTENTS, Part, Span, control_tokens, render, spans

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH = 1024
"""Conversations that are encoded at once, on all cores."""
# Of the last private plane, so in no text of a dataset.
ALIAS = "\U0010fff0{}\U0010fff1"


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
    file: str = ""

    @property
    def where(self) -> str:
        return at(self.file, self.row)

    @property
    def has_output(self) -> bool:
        """Whether any of an output or its end is left."""
        return bool((self.parts_t >= Part.OUTPUT).any())


class Encoding(NamedTuple):
    """What a dataset becomes under one tokenizer; the same for every loss."""

    kept: list[Encoded]
    dropped: list[Encoded]
    """Those whose output was cut off whole by `max_tokens`, so that IT has nothing to learn from them."""


class Twin(NamedTuple):
    """A tokenizer whose control tokens have other names, so that text never spells one."""

    tokenizer: Tokenizer
    controls: re.Pattern[str]
    """Any control token, by its own name."""
    ids: NDArray[np.int64]
    """From the twin's ids to the tokenizer's."""
    is_control: NDArray[np.bool_]
    """By the tokenizer's ids."""
    leading: tuple[int, ...]
    """What the tokenizer puts before every text: a BOS, where it has that habit."""


def encode(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation], *, max_tokens: int
) -> Encoding:
    """Encode conversations as `encode_each` does, and drop those whose output does not fit.

    Raises:
        UserError: naming the file and the row, when the template cannot be aligned; or when nothing is left.
    """
    kept, dropped = [], []
    _check_prompt(tokenizer, conversations)
    for encoded in encode_each(tokenizer, conversations, max_tokens=max_tokens):
        if encoded.has_output:
            kept.append(encoded)
        else:
            dropped.append(encoded)
    if not kept:
        raise UserError(
            f"{conversations[0].file}: train.max_tokens={max_tokens} cuts off the output of every conversation"
        )
    return Encoding(kept, dropped)


def encode_each(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation], *, max_tokens: int
) -> Iterator[Encoded]:
    """Encode conversations, cut on the right to `max_tokens`.

    A token's part is that of its characters; one that straddles a boundary belongs to the later-trained
    part: end and output before instruction and system before template. Tokens without characters (a BOS
    that the tokenizer adds) are template.

    Raises:
        UserError: naming the file and the row, when the template cannot be aligned.
    """
    for start in range(0, len(conversations), BATCH):
        yield from _encode(tokenizer, conversations[start : start + BATCH], max_tokens)


def _check_prompt(tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation]) -> None:
    """Refuse a template by which a model would be asked what it was not trained on, seen at the first answer."""
    answers = (
        (conversation, number)
        for conversation in conversations
        for number, turn in enumerate(conversation.turns)
        if turn.role == "assistant" and number > 0
    )
    conversation, last = next(answers, (None, 0))
    if conversation is None:
        return
    turns = conversation.turns
    if not render(tokenizer, turns[: last + 1]).startswith(render(tokenizer, turns[:last], prompt=True)):
        raise UserError(
            f"{conversation.where}: model.chat_template: what the template writes for a model to answer "
            "is not how it writes the answered conversation, so the model would be asked what it was not trained on"
        )


def prompt_ids(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> list[int]:
    """What a model is given to answer these turns: how the encoding of the answered conversation begins."""
    twin = _twin(tokenizer, len(tokenizer))
    cut = spans(tokenizer, turns, prompt=True)
    ids = twin.ids[twin.tokenizer.encode("".join(_spelled(cut, twin)), add_special_tokens=False).ids]
    return [*_leading(tokenizer, cut, twin), *ids.tolist()]


def _encode(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation], max_tokens: int
) -> Iterator[Encoded]:
    twin = _twin(tokenizer, len(tokenizer))
    cuts = [_spans(tokenizer, conversation) for conversation in conversations]
    texts = [_spelled(cut, twin) for cut in cuts]
    encodings = twin.tokenizer.encode_batch(["".join(text) for text in texts], add_special_tokens=False)
    for conversation, cut, text, encoding in zip(conversations, cuts, texts, encodings, strict=True):
        leading = _leading(tokenizer, cut, twin)
        ids_t = np.concatenate([leading, twin.ids[encoding.ids]]).astype(np.int64)
        # What the tokenizer puts before the text has no characters of its own.
        labels = [Span("", Part.TEMPLATE, 0), *cut]
        spans_t = np.concatenate(
            [np.zeros(len(leading), dtype=np.int64), 1 + _spans_of_tokens(encoding, cut, text)]
        )
        parts_t = np.array([span.part for span in labels], dtype=np.int8)[spans_t]
        if (twin.is_control[ids_t] & (parts_t != Part.TEMPLATE) & (parts_t != Part.END)).any():
            raise UserError(
                f"{conversation.where}: a control token of the tokenizer cannot be kept apart "
                "from the same characters in a content; remove them from the row"
            )
        yield Encoded(
            conversation.row,
            ids_t[:max_tokens],
            parts_t[:max_tokens],
            np.array([span.turn for span in labels], dtype=np.int16)[spans_t][:max_tokens],
            np.array([span.stray for span in labels], dtype=np.bool_)[spans_t][:max_tokens],
            truncated=len(ids_t) > max_tokens,
            file=conversation.file,
        )


def _spans(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> list[Span]:
    try:
        return spans(tokenizer, conversation.turns)
    except UserError as error:
        raise UserError(f"{conversation.where}: {error}") from None


def _spelled(cut: Sequence[Span], twin: Twin) -> list[str]:
    """The texts of spans in the twin's spelling: the template's control tokens renamed, contents as they are."""
    return [span.text if span.part in CONTENTS else _renamed_text(span.text, twin.controls) for span in cut]


@lru_cache(maxsize=4096)
def _renamed_text(text: str, controls: re.Pattern[str]) -> str:
    return controls.sub(lambda found: ALIAS.format(found[0]), text)


def _spans_of_tokens(encoding: Fast, cut: Sequence[Span], texts: Sequence[str]) -> NDArray[np.int64]:
    """Index in `cut` of the span each token belongs to: of those its characters are in, the last-trained."""
    stops = list(accumulate(map(len, texts)))
    # Tokens by the span that their first character is in; a token without characters, by where it stands.
    firsts = [0, *(_first_from(encoding, stop) for stop in stops[:-1]), len(encoding)]
    spans_t = np.repeat(np.arange(len(cut)), np.diff(firsts))
    for token in {first - 1 for first in firsts[1:-1] if first > 0}:
        _, end = _characters(encoding, token)
        if end > stops[spans_t[token]]:
            touched = range(spans_t[token], bisect_left(stops, end) + 1)
            spans_t[token] = max(
                (index for index in touched if texts[index]), key=lambda index: (cut[index].part, index)
            )
    return spans_t


def _first_from(encoding: Fast, place: int) -> int:
    """The first token that begins at this character or after it."""
    token = encoding.char_to_token(place)
    if token is None:  # no token has the character
        return bisect_left(range(len(encoding)), place, key=lambda token: _characters(encoding, token)[0])
    while token < len(encoding) and _characters(encoding, token)[0] < place:
        token += 1
    while token > 0 and _characters(encoding, token - 1)[0] >= place:
        token -= 1
    return token


def _characters(encoding: Fast, token: int) -> tuple[int, int]:
    found = encoding.token_to_chars(token)
    assert found is not None  # nothing but text was encoded
    return found


def _leading(tokenizer: PreTrainedTokenizerFast, cut: Sequence[Span], twin: Twin) -> tuple[int, ...]:
    """What comes before the text; a template that writes the BOS itself gets no second one."""
    bos = tokenizer.convert_ids_to_tokens(list(twin.leading))
    return () if bos and cut[0].text.startswith(bos[0]) else twin.leading


@lru_cache(maxsize=8)
def _twin(tokenizer: PreTrainedTokenizerFast, tokens: int) -> Twin:
    """The twin of a tokenizer with so many tokens, to which a template may have added some."""
    controls = control_tokens(tokenizer)
    twin = Tokenizer.from_str(
        json.dumps(_renamed(json.loads(tokenizer.backend_tokenizer.to_str()), controls))
    )
    twin.no_truncation()
    twin.no_padding()
    ids = np.arange(twin.get_vocab_size() + len(controls))
    is_control = np.zeros(len(ids), dtype=np.bool_)
    for control in controls:
        own, renamed = tokenizer.convert_tokens_to_ids(control), twin.token_to_id(ALIAS.format(control))
        ids[renamed] = own
        # What stands for the unknown is no control token: any text may hold it.
        is_control[own] = own != tokenizer.unk_token_id
    leading = []
    for id in tokenizer("a")["input_ids"]:
        if not is_control[id]:
            break
        leading.append(id)
    return Twin(twin, re.compile("|".join(map(re.escape, controls))), ids, is_control, tuple(leading))


def _renamed(spelled: dict[str, Any], controls: Sequence[str]) -> dict[str, Any]:
    """A tokenizer as JSON, its control tokens renamed where they are cut out of a text and where they are pieces."""
    for token in spelled["added_tokens"]:
        if token["content"] in controls:
            token["content"] = ALIAS.format(token["content"])
    model = spelled["model"]
    unknown = model.get("unk_token")
    pieces = {control: ALIAS.format(control) for control in controls if control != unknown}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {pieces.get(piece, piece): id for piece, id in model["vocab"].items()}
    else:  # a Unigram model's pieces have a score, and the unknown is known by its place
        model["vocab"] = [
            [piece if place == model["unk_id"] else pieces.get(piece, piece), score]
            for place, (piece, score) in enumerate(model["vocab"])
        ]
    return spelled
