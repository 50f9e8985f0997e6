"""The label report: what of a dataset is trained on, and which tokens carry loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from im_bench.config import UserError
from im_bench.data.conversations import BadRow
from im_bench.data.encoding import Encoded, Encoding
from im_bench.data.templates import Part
from im_bench.data.weights import Example

LABELS = "labels.json"
"""Where a training keeps its report."""


def label_report(
    encoding: Encoding, examples: Sequence[Example], skipped: Sequence[BadRow] = ()
) -> dict[str, Any]:
    """Counts of conversations and tokens, as JSON keeps them.

    `instruction_output_ratio` is in tokens: instruction and system over output, of all conversations; null where no
    output has a token.
    `truncated` counts conversations. `ends_outside` counts tokens of ends of turn that carry no loss, and outputs
    whose end was cut off. Rows are numbers in a file, or in a mixture `FILE:NUMBER`.

    Args:
        examples: of `encoding.kept`, in order.
        skipped: rows that were no conversations.

    Raises:
        UserError: naming the row of a conversation that is whole and has nothing to learn from; or when no end of a
            turn carries loss, so that the model would never stop.
    """
    tokens: Counter[int] = Counter()
    supervised: Counter[int] = Counter()
    for encoded, example in zip(encoding.kept, examples, strict=True):
        carries_t = example.weights_t > 0
        if not carries_t.any():
            raise UserError(f"{encoded.where}: no token carries loss, so nothing can be learned")
        tokens.update(encoded.parts_t.tolist())
        supervised.update(encoded.parts_t[carries_t].tolist())
    truncated = [encoded for encoded in encoding.kept if encoded.truncated]
    if not supervised[Part.END]:
        raise UserError(
            f"{encoding.kept[0].where} and every other: no end of an output carries loss, so the model would "
            "never stop; raise train.max_tokens, which cuts off what is longer"
        )
    return {
        "conversations": len(encoding.kept) + len(encoding.dropped),
        "kept": len(encoding.kept),
        "truncated": len(truncated),
        "truncated_rows": _rows(truncated, encoding),
        "dropped_rows": _rows(encoding.dropped, encoding),
        "skipped_rows": [bad.reason for bad in skipped],
        "tokens": {part.name.lower(): tokens[part] for part in Part},
        "supervised": {part.name.lower(): supervised[part] for part in Part},
        "supervised_tokens": sum(supervised.values()),
        "weight": float(sum(example.weights_t.sum(dtype=np.float64) for example in examples)),
        "ends_outside": _ends_cut(encoding) + tokens[Part.END] - supervised[Part.END],
        "instruction_output_ratio": (tokens[Part.INSTRUCTION] + tokens[Part.SYSTEM]) / tokens[Part.OUTPUT]
        if tokens[Part.OUTPUT]
        else None,
    }


def describe(report: dict[str, Any]) -> str:
    """The label report for a person, a few lines."""
    whole, carrying = sum(report["tokens"].values()), report["supervised_tokens"]
    ratio = report["instruction_output_ratio"]
    lines = [
        f"labels: {report['kept']} of {report['conversations']} conversations "
        f"({report['truncated']} truncated, {len(report['dropped_rows'])} dropped as no output fits), "
        f"instruction/output {'n/a' if ratio is None else format(ratio, '.2f')} in tokens",
        f"  {carrying} of {whole} tokens are supervised ({carrying / whole:.1%}), "
        f"{report['ends_outside']} ends of turn are not",
    ]
    if report["skipped_rows"]:
        lines.append(
            f"  {len(report['skipped_rows'])} rows were skipped, the first: {report['skipped_rows'][0]}"
        )
    lines += [
        f"  {part:<12}{report['supervised'][part]:>10} of {count}"
        for part, count in report["tokens"].items()
        if count
    ]
    return "\n".join(lines)


def _rows(these: Sequence[Encoded], encoding: Encoding) -> list[int] | list[str]:
    files = {encoded.file for encoded in (*encoding.kept, *encoding.dropped)}
    if len(files) == 1:
        return [encoded.row for encoded in these]
    return [f"{Path(encoded.file).name}:{encoded.row}" for encoded in these]


def _ends_cut(encoding: Encoding) -> int:
    """Truncated conversations whose last turn that is left is an output, and has lost its end."""
    return sum(encoded.truncated and int(encoded.parts_t[-1]) == Part.OUTPUT for encoded in encoding.kept)
