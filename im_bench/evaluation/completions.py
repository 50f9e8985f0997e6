"""A judge in the place of alpaca_eval's completions: prompts become requests, replies completions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from im_bench.judging.judge import Bill, Comparison, Judge, Reply, Request, spoken, total


class Completions:
    """What alpaca_eval calls as its `fn_completions`.

    The package hands over no more than a prompt, so the comparison behind each possible prompt is known
    beforehand; and it forgets the text of what it cannot parse, so what was said is kept.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        messages: Sequence[Mapping[str, str]],
        comparisons: Mapping[str, Comparison],
        seed: int,
        usual_tokens: int,
    ) -> None:
        self._judge = judge
        self._messages = messages
        self._comparisons = comparisons
        self._seed, self._usual_tokens = seed, usual_tokens
        self._said: dict[tuple[str, str, str], Any] = {}
        self.bill = Bill()

    def __call__(
        self, prompts: Sequence[str], *, max_tokens: int, top_logprobs: int | None
    ) -> dict[str, list[Any]]:
        """One completion per prompt, in order, under the key that the package's config reads."""
        asked = [self._comparisons[prompt] for prompt in prompts]
        requests = [self._request(each, max_tokens, top_logprobs or 0) for each in asked]
        replies = self._judge.replies(requests)
        self.bill = self.bill.plus(total(replies))
        said = [
            reply and (_with_logprobs(reply) if top_logprobs else spoken(reply.text)) for reply in replies
        ]
        for each, words in zip(asked, said, strict=True):
            self._said[each.question, *each.answers] = words
        # What a server refuses is no verdict: nothing is parsed of it.
        found = [
            words if reply and not reply.refused else None for reply, words in zip(replies, said, strict=True)
        ]
        return {"completions_all" if top_logprobs else "completions": found}

    def said(self, row: Mapping[str, Any]) -> Any:
        """What the judge said of an annotated row, or of its two orders; None where it said nothing."""
        first, second = row["output_1"], row["output_2"]
        orders = (row["instruction"], first, second), (row["instruction"], second, first)
        said = [self._said[order] for order in orders if order in self._said]
        return said if len(said) > 1 else next(iter(said), None)

    def _request(self, comparison: Comparison, max_tokens: int, top_logprobs: int) -> Request:
        messages = self._filled(comparison)
        return Request(messages, comparison, max_tokens, top_logprobs, self._seed, self._usual_tokens)

    def _filled(self, comparison: Comparison) -> list[dict[str, str]]:
        """The template's messages, filled in one by one: a chat marker within an output stays text."""
        fields = dict(zip(("output_1", "output_2"), comparison.answers, strict=True))
        fields["instruction"] = comparison.question
        holes = re.compile("{(" + "|".join(fields) + ")}")
        return [
            {**message, "content": holes.sub(lambda hole: fields[hole[1]], message["content"])}
            for message in self._messages
        ]


def _with_logprobs(reply: Reply) -> dict[str, Any]:
    """A completion in the shape that the package's `logprob_parser` reads."""
    alternatives = [
        {"token": token, "logprob": logprob} for token, logprob in (reply.first_token or {}).items()
    ]
    return {"text": reply.text, "logprobs": {"content": [{"top_logprobs": alternatives}]}}
