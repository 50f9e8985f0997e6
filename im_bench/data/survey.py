"""What one pass over a dataset finds: its lengths, and what may be wrong with it.

Memory is a few numbers a conversation, whatever their texts are.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from im_bench.data.contamination import Index
from im_bench.data.conversations import BadRow, Conversation
from im_bench.data.lengths import CHARACTERS_PER_WORD, Lengths, Unit, measured, summary
from im_bench.data.subsets import content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH = 512
NAMED = 5
"""Rows that a finding names."""
FAR = 5.0
"""Scaled median absolute deviations beyond which a length stands out; 5 leaves one in 1.7 million of a normal law."""
CUT_OFF_WORDS = 30
"""Outputs of so many words that end in the middle of a sentence may have been cut off."""
UNENDED = re.compile(r"[\w,;:(\[{-]$")
PLACE = re.compile(r"^.*?, (row \d+( \(line \d+\))?|line \d+)(, (message|turn) \d+)?: ", re.DOTALL)
VALUE = re.compile(r"'[^']*'|\[[^\]]*\]|\([^)]*\)")
KINDS = 100
"""Most kinds of bad rows that are told apart."""
BYTES_PER_TOKEN = 4


class Finding(NamedTuple):
    """Something that may be wrong: how many conversations, and the first of them."""

    found: int
    rows: list[str]


@dataclass
class Survey:
    """What was found so far."""

    index: Index | None = None
    tokenizer: PreTrainedTokenizerFast | None = None
    unit: Unit = "words"
    """Of lengths; in tokens they are the tokenizer's."""
    max_tokens: int | None = None
    """Longer conversations are counted; by tokens of the tokenizer, or without one by four bytes a token."""
    instruction: array[int] = field(default_factory=lambda: array("l"))
    output: array[int] = field(default_factory=lambda: array("l"))
    instruction_characters: array[int] = field(default_factory=lambda: array("l"))
    output_characters: array[int] = field(default_factory=lambda: array("l"))
    tokens: array[int] = field(default_factory=lambda: array("l"))
    """Of whole conversations, system turns among them."""
    contents: array[int] = field(default_factory=lambda: array("Q"))
    rows: array[int] = field(default_factory=lambda: array("l"))
    files: array[int] = field(default_factory=lambda: array("H"))
    names: dict[str, int] = field(default_factory=dict)
    bad: Counter[str] = field(default_factory=Counter)
    bad_rows: list[str] = field(default_factory=list)
    flagged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    items: dict[int, int] = field(default_factory=dict)
    """Test items that were found, and the first conversation that holds each."""

    def read(
        self, found: Iterable[Conversation | BadRow], told: Callable[[int], None] = lambda rows: None
    ) -> None:
        """Take in conversations and bad rows; `told` hears after every batch how many have been read."""
        stream = iter(found)
        while batch := list(islice(stream, BATCH)):
            self._count_bad(one for one in batch if isinstance(one, BadRow))
            self._take([one for one in batch if isinstance(one, Conversation)])
            told(len(batch))

    def lengths(self) -> tuple[Lengths, Lengths]:
        """Of instructions and of outputs, one a conversation."""
        return np.array(self.instruction, np.int64), np.array(self.output, np.int64)

    def character_ratio(self) -> float | None:
        """Instruction over output in characters where white space does not part words, and else None."""
        instruction, output = sum(self.instruction_characters), sum(self.output_characters)
        words = sum(map(sum, self.lengths()))
        unparted = self.unit == "words" and instruction + output > CHARACTERS_PER_WORD * words
        return instruction / output if unparted and output else None

    def ratios(self) -> NDArray[np.float64]:
        """Instruction over output of each conversation, in the unit of the ratio of means."""
        by_characters = self.character_ratio() is not None
        both = (self.instruction_characters, self.output_characters) if by_characters else self.lengths()
        instruction_n, output_n = (np.array(each, np.float64) for each in both)
        return instruction_n / output_n.clip(min=1)

    def summary(self, name: str) -> dict[str, Any]:
        """The dataset's row of Table 5, see `im_bench.data.lengths.summary`."""
        return {"dataset": name} | summary(*self.lengths(), self.unit)

    def findings(self) -> dict[str, Finding]:
        """What may be wrong, by name; nothing is removed for it."""
        found = {
            "bad_rows": Finding(sum(self.bad.values()), self.bad_rows),
            "duplicates": self._duplicates(),
            "long_or_short_instructions": self._outliers(self.instruction_characters),
            "long_or_short_outputs": self._outliers(self.output_characters),
        }
        return found | {name: self._finding(self.flagged[name]) for name in _FLAGS} | self._over_long()

    def contamination(self) -> dict[str, dict[str, Any]] | None:
        """Test items found, of those looked for, by benchmark; None where no test data was at hand."""
        if self.index is None:
            return None
        found: dict[str, dict[str, Any]] = {}
        for number, item in enumerate(self.index.items):
            entry = found.setdefault(item.benchmark, {"texts": 0, "found": 0, "rows": []})
            entry["texts"] += 1
            if number in self.items:
                entry["found"] += 1
                if len(entry["rows"]) < NAMED:
                    entry["rows"].append(self._named(self.items[number]))
        return found

    def _count_bad(self, bad: Iterator[BadRow]) -> None:
        for one in bad:
            kind = VALUE.sub("...", PLACE.sub("", one.reason)).partition(";")[0]
            self.bad[kind if kind in self.bad or len(self.bad) < KINDS else "others"] += 1
            if len(self.bad_rows) < NAMED:
                self.bad_rows.append(one.reason)

    def _take(self, conversations: list[Conversation]) -> None:
        start = len(self.rows)
        for length in measured(conversations, self.tokenizer if self.unit == "tokens" else None):
            self.instruction.append(length.instruction)
            self.output.append(length.output)
        for number, one in enumerate(conversations, start=start):
            self._note(number, one)
        self.tokens.extend(self._sizes(conversations))
        if self.index is not None and conversations:
            texts = ["\n".join(turn.content for turn in one.turns) for one in conversations]
            for hit in self.index.hits(texts):
                self.items.setdefault(hit.item, start + hit.conversation)

    def _note(self, number: int, one: Conversation) -> None:
        characters = {"system": 0, "user": 0, "assistant": 0}
        for turn in one.turns:
            characters[turn.role] += len(turn.content)
        self.instruction_characters.append(characters["user"])
        self.output_characters.append(characters["assistant"])
        self.contents.append(int.from_bytes(content(one)[:8]))
        self.rows.append(one.row)
        self.files.append(self.names.setdefault(one.file, len(self.names)))
        for name, holds in _FLAGS.items():
            if holds(one):
                self.flagged[name].append(number)

    def _duplicates(self) -> Finding:
        contents = np.array(self.contents, np.uint64)
        first, inverse = np.unique(contents, return_index=True, return_inverse=True)[1:]
        later = np.flatnonzero(first[inverse] != np.arange(len(contents)))
        pairs = [
            f"{self._named(int(one))} = {self._named(int(first[inverse[one]]))}" for one in later[:NAMED]
        ]
        return Finding(len(later), pairs)

    def _outliers(self, characters: array[int]) -> Finding:
        """By the logarithm of the length in characters, which means the same in every script."""
        log_n: NDArray[np.float64] = np.log1p(np.array(characters, np.float64))
        if not len(log_n):
            return Finding(0, [])
        from_median_n = np.abs(log_n - np.median(log_n))
        spread = 1.4826 * np.median(from_median_n)
        return self._finding(np.flatnonzero(from_median_n > FAR * spread).tolist() if spread else [])

    def _over_long(self) -> dict[str, Finding]:
        if self.max_tokens is None:
            return {}
        tokens_n = np.array(self.tokens, np.int64)
        return {"too_long": self._finding(np.flatnonzero(tokens_n > self.max_tokens).tolist())}

    def _sizes(self, conversations: Sequence[Conversation]) -> list[int]:
        texts = [[turn.content for turn in one.turns] for one in conversations]
        if self.tokenizer is None:
            return [sum(len(turn.encode()) for turn in turns) // BYTES_PER_TOKEN for turns in texts]
        ids = (
            self.tokenizer([turn for turns in texts for turn in turns], add_special_tokens=False)["input_ids"]
            if texts
            else []
        )
        counts = iter(map(len, ids))
        return [sum(next(counts) for _ in turns) for turns in texts]

    def _finding(self, numbers: list[int]) -> Finding:
        return Finding(len(numbers), [self._named(number) for number in numbers[:NAMED]])

    def _named(self, number: int) -> str:
        row = self.rows[number]
        if len(self.names) == 1:
            return str(row)
        return f"{list(self.names)[self.files[number]]}:{row}"


def _is_empty(one: Conversation) -> bool:
    return any(turn.role == "assistant" and not turn.content for turn in one.turns)


def _may_be_cut_off(one: Conversation) -> bool:
    output = one.turns[-1].content
    return bool(UNENDED.search(output[-1:])) and len(output.split(None, CUT_OFF_WORDS)) > CUT_OFF_WORDS


def _does_not_alternate(one: Conversation) -> bool:
    roles = [turn.role for turn in one.turns]
    said = roles[1:] if roles[0] == "system" else roles
    return said != ["user", "assistant"] * (len(said) // 2)


_FLAGS: dict[str, Callable[[Conversation], bool]] = {
    "empty_outputs": _is_empty,
    "cut_off_outputs": _may_be_cut_off,
    "roles_that_do_not_alternate": _does_not_alternate,
}
