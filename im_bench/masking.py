"""Conversations as a loss sees them: their tokens by part and weight, for a person or as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

from im_bench import places
from im_bench.config import Training, UserError
from im_bench.data.conversations import Conversation
from im_bench.data.encoding import Encoded, encode_each
from im_bench.data.released import markers
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import select
from im_bench.data.templates import Part
from im_bench.data.weights import weigh
from im_bench.pipeline import loss_identity
from im_bench.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROWS = 3
"""Conversations that are shown where none is named."""
COLOURS = {
    Part.TEMPLATE: "bright_black",
    Part.SYSTEM: "magenta",
    Part.INSTRUCTION: "blue",
    Part.OUTPUT: "green",
    Part.END: "yellow",
}


class Masked(NamedTuple):
    """One conversation with the weight of each token as a target, before averaging."""

    encoded: Encoded
    weights: list[float]

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.encoded.row,
            "file": self.encoded.file,
            "kept": self.encoded.has_output,
            "truncated": self.encoded.truncated,
            "input_ids": self.encoded.ids_t.tolist(),
            "parts": [Part(part).name.lower() for part in self.encoded.parts_t],
            "weights": self.weights,
        }


def masked(run: Training, tokenizer: PreTrainedTokenizerFast, rows: Sequence[int] | None) -> list[Masked]:
    """These rows of the run's dataset, from 0, or its first few.

    Raises:
        UserError: when a row is not there, or cannot be encoded.
    """
    loss = loss_identity(run.loss)
    found = markers(tokenizer)
    sources = [_lenient(source) for source in places.sources(run)]
    there = read_sources(sources, seed=run.seed).conversations
    chosen = _chosen(run, select(there, run.subset, seed=run.seed, tokenizer=tokenizer), rows)
    encoded = encode_each(tokenizer, chosen, max_tokens=run.train.max_tokens)
    return [Masked(each, _exact(weigh(each, loss, found).weights_t.tolist())) for each in encoded]


def shown(masked: Masked, tokenizer: PreTrainedTokenizerFast, *, colour: bool) -> Text:
    """A conversation as text: coloured by part, on that colour where it carries loss; without colour, in brackets."""
    encoded, weights = masked
    carrying = [weight for weight in weights if weight > 0]
    cut = ", truncated" if encoded.truncated else ""
    fate = "" if encoded.has_output else "; dropped, as no output fits in train.max_tokens"
    counts = f"{len(weights)} tokens, {len(carrying)} carry loss, weight {sum(carrying):g}"
    row = f"row {encoded.row} of {printable(Path(encoded.file).name)}"
    text = Text().append(f"{row}: {counts}{cut}{fate}\n", style="bold")
    for part, weight, piece in _pieces(masked, tokenizer):
        sign = printable(piece).replace("\n", "\u21b5\n")
        if colour:
            text.append(sign, style=_style(part, weight))
        elif weight:
            text.append(f"[[{sign}]]" if weight == 1 else f"[[{weight:g}: {sign}]]")
        else:
            text.append(sign)
    return text.append("\n")


def legend(loss: str, *, colour: bool) -> Text:
    """What colours and signs mean."""
    text = Text(f"loss={loss}  ")
    if not colour:
        return text.append("[[carries loss]]  [[0.5: carries loss of that weight]]  does not\n")
    for part in Part:
        text.append(f" {part.name.lower()} ", style=_style(part, 1.0)).append(" ")
    return text.append(
        "\non colour: carries loss; underlined: of a weight other than 1; in colour: carries none\n"
    )


def _style(part: Part, weight: float) -> str:
    if weight == 0:
        return COLOURS[part]
    return f"{'' if weight == 1 else 'underline '}black on {COLOURS[part]}"


def _pieces(masked: Masked, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Part, float, str]]:
    """Runs of tokens of one part and weight, as text that joins to the decoding of all."""
    ids = masked.encoded.ids_t.tolist()
    labels = list(zip(masked.encoded.parts_t.tolist(), masked.weights, strict=True))
    before, stop = "", 0
    for (part, weight), run in groupby(labels):
        stop += len(list(run))
        text = str(tokenizer.decode(ids[:stop]))
        yield Part(part), weight, text[len(before) :]
        before = text


def _chosen(run: Training, there: Sequence[Conversation], rows: Sequence[int] | None) -> list[Conversation]:
    if rows is None:
        return list(there[:ROWS])
    by_row: dict[int, list[Conversation]] = defaultdict(list)
    for conversation in there:
        by_row[conversation.row].append(conversation)
    for row in rows:
        if row not in by_row:
            some = ", ".join(map(str, sorted(by_row)[:ROWS]))
            raise UserError(
                f"--rows {row}: not among the {len(there)} rows of dataset={run.dataset.name} "
                f"subset={run.subset.name}, from 0: {some}, ... {max(by_row)}"
            )
    return [conversation for row in rows for conversation in by_row[row]]


def _lenient(source: Source) -> Source:
    """An empty output is shown even where a training would refuse it; where bad rows are skipped it is one."""
    if source.spec.on_bad_row == "skip":
        return source
    return source.model_copy(update={"spec": source.spec.model_copy(update={"allow_empty_output": True})})


def _exact(weights: list[float]) -> list[float]:
    """Weights as they are written in a config: 0.242, and not the nearest float of 32 bits."""
    return [float(f"{weight:.6g}") for weight in weights]
