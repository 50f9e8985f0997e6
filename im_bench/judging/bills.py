"""What verdicts cost: foretold before a pass, held within a budget during it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from im_bench.config import Price, Served, UserError
from im_bench.judging.judge import Bill, Request

PER_MESSAGE = 16
"""Tokens that a message's role and its marks take, at most."""

Count = Callable[[str], int]
"""How many tokens a text has."""


class Budget:
    """US dollars that may still be spent. What is on its way is reserved at the most it can cost."""

    def __init__(self, spec: Served, spent: float) -> None:
        self._spec = spec
        self.spent = spent
        self.reserved = 0.0
        self.lost = 0.0
        """Of `spent`, what tries without a reply may have cost: a server may bill what it could not deliver."""

    def allows(self, request: Request) -> bool:
        """Whether this request cannot exceed the budget, whatever comes of those on their way."""
        return self._spec.budget is None or self._bound() + self._most(request) <= self._spec.budget

    def reserve(self, request: Request) -> None:
        self.reserved += self._most(request)

    def settle(self, request: Request, cost: float | None) -> None:
        """A reply has come.

        Raises:
            UserError: when it does not say what it took, and so no budget can be held.
        """
        self.reserved = max(0.0, self.reserved - self._most(request))
        if self._spec.budget is not None and cost is None:
            raise UserError(
                "judge.budget: the server does not say how many tokens a reply took; leave it null"
            )
        self.spent += cost or 0.0

    def lose(self, request: Request) -> None:
        """A try has had no reply, and may have been billed.

        Raises:
            UserError: when another try might exceed the budget.
        """
        self.lost += self._most(request)
        self.spent += self._most(request)
        if self._spec.budget is not None and self._bound() > self._spec.budget:
            raise UserError(
                f"judge.budget={self._spec.budget:g}: {self.spent:.2f} USD may be spent, of which {self.lost:.2f} on "
                "tries that had no reply; raise it, and the same command goes on"
            )

    def _bound(self) -> float:
        return self.spent + self.reserved

    def _most(self, request: Request) -> float:
        """No tokenizer makes more tokens of a text than it has bytes."""
        if self._spec.price is None:
            return 0.0
        texts = (message["content"].encode() for message in request.messages)
        prompt = sum(len(text) + PER_MESSAGE for text in texts)
        body = self._spec.body
        answer = body.get("max_completion_tokens", body.get("max_tokens", request.max_tokens))
        return cost(Bill(prompt, answer), self._spec.price)


def cost(bill: Bill, price: Price) -> float:
    """US dollars for the tokens of a bill."""
    assert bill.prompt_tokens is not None and bill.answer_tokens is not None
    return (bill.prompt_tokens * price.prompt + bill.answer_tokens * price.answer) / 1e6


def estimate(requests: Sequence[Request], tokens: Count) -> Bill:
    """Tokens that these requests and their replies will take, about: those of the texts, without a chat template's."""
    prompt = sum(tokens(message["content"]) for request in requests for message in request.messages)
    return Bill(prompt, sum(request.usual_tokens for request in requests), None)


def foretold(spec: Served, requests: Sequence[Request], kept: int, tokens: Count | None) -> str:
    """A sentence on what a pass will ask, and what it will cost where that is known."""
    begin = f"judge {spec.label}: {len(requests)} verdicts to ask, {kept} kept"
    if spec.price is None or tokens is None:
        return begin
    about = estimate(requests, tokens)
    dollars = cost(about, spec.price)
    return (
        f"{begin}; about {about.prompt_tokens:,} tokens of prompts and {about.answer_tokens:,} of replies, "
        f"{dollars:.2f} USD at prices of {spec.price.date}"
    )
