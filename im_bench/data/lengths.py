"""How long instructions and outputs are, in words as the paper counts them or in tokens of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from im_bench.data.conversations import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHARACTERS_PER_WORD = 20
"""Above so many, on average, white space does not part the words of the language."""
Unit = Literal["words", "tokens"]
Lengths = NDArray[np.int64]


class Length(NamedTuple):
    """Of one conversation; system turns are in neither."""

    instruction: int
    output: int

    @property
    def ratio(self) -> float:
        """Instruction over output; infinite where the output is empty."""
        return self.instruction / self.output if self.output else float("inf")


def measured(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerFast | None
) -> list[Length]:
    """The length of each conversation, in tokens of `tokenizer`, or in words where there is none."""
    return (
        [in_words(one) for one in conversations]
        if tokenizer is None
        else _in_tokens(conversations, tokenizer)
    )


def in_words(conversation: Conversation) -> Length:
    """Words as the paper counts them: what white space parts in a turn as the published code renders it.

    Its role tag is a word, so a turn has one more than its content; the `</s>` that follows an output clings to its
    last word, or is a word where the output is empty. With this every cell of the paper's Table 5 comes out for the
    three datasets whose files are public (tests/data/test_lengths.py).
    """
    instruction = output = 0
    for turn in conversation.turns:
        if turn.role == "user":
            instruction += 1 + len(turn.content.split())
        elif turn.role == "assistant":
            output += 1 + (len(turn.content.split()) or 1)
    return Length(instruction, output)


def _in_tokens(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerFast) -> list[Length]:
    """Tokens of each content by itself, as it stands in the file; no control tokens, no template."""
    turns = [turn for conversation in conversations for turn in conversation.turns]
    ids = tokenizer([turn.text for turn in turns], add_special_tokens=False)["input_ids"] if turns else []
    counts = iter(map(len, ids))
    found = []
    for conversation in conversations:
        tokens = {"system": 0, "user": 0, "assistant": 0}
        for turn in conversation.turns:
            tokens[turn.role] += next(counts)
        found.append(Length(tokens["user"], tokens["assistant"]))
    return found


def summary(instruction_n: Lengths, output_n: Lengths, unit: Unit) -> dict[str, Any]:
    """One row of the paper's Table 5, and medians and modes.

    Standard deviations are of the population, ratios those of the means. The mode is the smallest of
    the most frequent lengths. A ratio whose denominator is zero is null.
    """
    instruction, output = float(instruction_n.mean()), float(output_n.mean())
    return {
        "examples": len(output_n),
        f"total_{unit}_mean": instruction + output,
        f"output_{unit}_mean": output,
        f"output_{unit}_std": float(output_n.std()),
        f"instruction_{unit}_mean": instruction,
        f"instruction_{unit}_std": float(instruction_n.std()),
        "output_over_instruction": output / instruction if instruction else None,
        "instruction_over_output": instruction / output if output else None,
        f"output_{unit}_median": float(np.median(output_n)),
        f"output_{unit}_mode": _mode(output_n),
        f"instruction_{unit}_median": float(np.median(instruction_n)),
        f"instruction_{unit}_mode": _mode(instruction_n),
    }


def _mode(lengths_n: Lengths) -> int:
    return int(np.bincount(lengths_n).argmax())
