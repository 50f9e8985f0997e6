"""Verdicts from files: what a judge once said, put to whatever answers it said it of.

A verdict is found by what the judge saw: FastChat's judgments by their `user_prompt`, alpaca_eval's annotations by the
instruction and the two outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from im_bench.config import Replay, UserError
from im_bench.data.rows import read_rows
from im_bench.judging.forms import preferring
from im_bench.judging.judge import Comparison, Reply, Request
from im_bench.judging.overlap import note_of

Seen = str | tuple[str, str, frozenset[str]]
"""A prompt, or a rival, a question and two answers in either order."""
ALIASES = {"gpt4_turbo": "gpt4_1106_preview"}
"""Rivals of two names."""
Words = str | dict[str, float]

log = logging.getLogger(__name__)


class ReplayJudge:
    """Replies with what the files of `spec` hold; of what they do not hold, it has no verdict.

    Raises:
        UserError: when a file cannot be read, holds no verdicts that can be found again, or two on the same answers.
    """

    def __init__(self, spec: Replay) -> None:
        self._spec = spec
        self._said: dict[Seen, Words] = {}
        self._judges: set[str] = set()
        for where, row in (
            (f"{path}, row {n}", row) for path in spec.files for n, row in enumerate(read_rows(path), 1)
        ):
            seen, words = _verdict(row, where)
            if self._said.setdefault(seen, words) != words:
                raise UserError(
                    f"{where}: another verdict on the same answers stands before; give one judge's file"
                )
            said_by = row.get("judge", row.get("annotator"))
            self._judges.add(str(said_by[0] if isinstance(said_by, list) and said_by else said_by))

    @property
    def name(self) -> str:
        return self._spec.label

    @property
    def note(self) -> str | None:
        return next(filter(None, map(note_of, sorted(self._judges))), None)

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        """What the files say of each request.

        Raises:
            UserError: when they say nothing of any: they are about other answers.
        """
        found = [self._reply(request, self._words(_seen(request))) for request in requests]
        missing = found.count(None)
        if requests and missing == len(requests):
            files = ", ".join(map(str, self._spec.files))
            raise UserError(f"judge.files={files}: none of the {missing} answers has its verdict there")
        if missing:
            log.warning("judge %s: %d of %d verdicts are not in its files", self.name, missing, len(requests))
        return found

    def _words(self, seen: Seen) -> Words | None:
        """A verdict whose rival is not named is on any."""
        unnamed = seen if isinstance(seen, str) else ("", *seen[1:])
        return self._said.get(seen, self._said.get(unnamed))

    def _reply(self, request: Request, said: Words | None) -> Reply | None:
        if said is None or isinstance(said, str):
            return None if said is None else Reply(said)
        assert isinstance(request.subject, Comparison)
        share = said[request.subject.answers[0]]
        if share == 0.5 and not request.top_logprobs and not self._spec.both_orders:
            raise UserError(
                f"judge.files: a tie ({request.subject.question[:60]!r}) has no form in a ranking; "
                "judge.both_orders=true replays it"
            )
        return preferring(request, share)


def _seen(request: Request) -> Seen:
    match request.subject:
        case Comparison(question=question, answers=answers, rival=rival):
            return ALIASES.get(rival, rival), question, frozenset(answers)
    return request.messages[-1]["content"]


def _verdict(row: Mapping[str, Any], where: str) -> tuple[Seen, Words]:
    """What a verdict is on, and what it says: a rating's words, or how likely each of two outputs is the better one."""
    match row:
        case {"user_prompt": str(prompt), "judgment": str(words)}:
            return prompt, words
        case {
            "instruction": str(question),
            "output_1": str(first),
            "output_2": str(second),
            "preference": said,
        } if is_preference(said):
            rival = str(row.get("generator_1", ""))
            return (ALIASES.get(rival, rival), question, frozenset((first, second))), _shares(
                first, second, said
            )
    raise UserError(
        f"{where}: is no verdict that can be found again; FastChat's judgments need `user_prompt` and `judgment`, "
        "alpaca_eval's annotations `instruction`, `output_1`, `output_2` and a `preference` from 1 to 2"
    )


def is_preference(said: Any) -> bool:
    """alpaca_eval's: from 1 to 2, 0 in old files for a tie, or none."""
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    return said is None or (is_number and (said == 0 or 1 <= said <= 2))


def _shares(first: str, second: str, preference: float | None) -> Words:
    """alpaca_eval's preference goes from 1, the first is better, to 2; once 0 was a tie."""
    if preference is None:
        return ""
    second_is_better = 0.5 if preference == 0 else preference - 1
    return {first: 1 - second_is_better, second: second_is_better}
