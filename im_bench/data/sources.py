"""What a cell is trained on, before subsets: the conversations of a file, or of the parts of a mixture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from im_bench.config import Frozen, UserError
from im_bench.data.conversations import BadRow, Conversation, scan_conversations
from im_bench.data.subsets import fraction
from im_bench.identity import SourceIdentity


class Source(Frozen):
    """A file of conversations and how it is read."""

    name: str
    file: Path
    spec: SourceIdentity
    num_examples: int | None
    """How many it must hold, where that is known."""
    key: str = "dataset"
    """What a person says of it begins with this."""


class Found(NamedTuple):
    """What was read."""

    conversations: list[Conversation]
    skipped: list[BadRow]


def read_sources(sources: Sequence[Source], *, seed: int) -> Found:
    """The conversations of all sources, one after another, of each the fraction that is asked for.

    Raises:
        UserError: naming the file, the row and what is wrong with it; or the number of examples that is not there.
    """
    conversations: list[Conversation] = []
    skipped: list[BadRow] = []
    for number, source in enumerate(sources):
        read: list[Conversation] = []
        for found in scan_source(source):
            if isinstance(found, BadRow):
                skipped.append(found)
            elif len(sources) == 1:
                read.append(found)
            else:
                read.append(found._replace(stratum=f"{number} {found.stratum or ''}"))
        # Another purpose than a subset's: what this leaves must be as likely as the rest to be chosen there.
        chosen = fraction(read, source.spec.fraction, f"fraction {seed}")
        if not chosen:
            raise UserError(
                f"{source.key}.fraction={source.spec.fraction:g}: none of the {len(read)} conversations "
                f"of {source.file} is chosen"
            )
        conversations += [read[index] for index in chosen]
    return Found(conversations, skipped)


def scan_source(source: Source) -> Iterator[Conversation | BadRow]:
    """The conversations of one source one after another, its fraction aside, and the rows that are skipped.

    Raises:
        UserError: as `read_sources`.
    """
    spec = source.spec
    counts: Counter[type] = Counter()
    others: set[str] = set()
    for found in scan_conversations(
        source.file, spec.format, allow_empty_output=spec.allow_empty_output, source_field=spec.source_field
    ):
        if spec.only and found.stratum is not None and found.stratum not in spec.only:
            others.add(found.stratum)
            continue
        if isinstance(found, BadRow) and spec.on_bad_row == "error":
            raise UserError(f"{found.reason}; {source.key}.on_bad_row=skip leaves such rows out")
        counts[type(found)] += 1
        yield found
    if not counts.total():
        raise UserError(
            f"{source.file}: {source.key}.only={list(spec.only)}: `{spec.source_field}` is nowhere that, but "
            f"{', '.join(sorted(others)[:10])}"
        )
    if source.num_examples is not None and counts.total() != source.num_examples:
        raise UserError(
            f"{source.file}: {counts.total()} rows, but {source.name} has {source.num_examples} "
            f"({source.key}.num_examples); it is not the file that was published"
        )
    if not counts[Conversation]:
        raise UserError(f"{source.file}: no row of it is a conversation ({counts[BadRow]} were skipped)")
