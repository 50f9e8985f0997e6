"""A served judge: what it has said is kept, what is missing is asked for, many at a time and within a budget."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from im_bench import config
from im_bench.config import UserError
from im_bench.counting import Follow
from im_bench.judging.api import Chat, Refused, key
from im_bench.judging.bills import Budget, foretold
from im_bench.judging.judge import Bill, Reply, Request, Stop, Stopped
from im_bench.judging.verdicts import FILE, POLL, Verdict, Verdicts

GRACE = 10
"""Seconds that replies on their way are waited for when somebody says stop."""
REFUSED_TO_STOP = 8
"""So many refusals before the first reply mean that it is not the prompts."""

log = logging.getLogger(__name__)


class ServedJudge:
    """The judge that `spec` describes.

    Args:
        results: the folder where verdicts are kept.
        tokens: counts those of a text as the judge would, about; None where no tokenizer is at hand.
        stop: when it is set, nothing more is asked.

    Raises:
        UserError: when the key is not set.
    """

    def __init__(
        self,
        spec: config.Served,
        results: Path,
        *,
        tokens: Callable[[str], int] | None,
        follow: Follow,
        stop: Stop,
    ) -> None:
        key(spec)
        self._spec, self._tokens, self._follow, self._stop = spec, tokens, follow, stop
        asked = {"model": spec.model, "temperature": spec.temperature, "body": spec.body}
        self._verdicts = Verdicts(results / FILE, asked)

    @property
    def name(self) -> str:
        return self._spec.label

    @property
    def note(self) -> str | None:
        return None

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        """What is kept, and what is asked for now; a request that the server refuses has its words as the reply.

        Raises:
            UserError: at the first failure that the next request would meet as well, when the budget is spent, and
                when somebody says stop. All that came until then is kept.
        """
        keys = [self._verdicts.key(request) for request in requests]
        known = self._verdicts.kept(keys)
        if any(each not in known for each in keys):
            with self._verdicts.alone(self._stop):
                known = self._verdicts.kept(keys)
                missing = {
                    each: request for each, request in zip(keys, requests, strict=True) if each not in known
                }
                if missing:
                    known |= asyncio.run(self._asked(missing, known, len(set(keys))))
        self._follow(len(requests), len(requests))
        return [known[each] for each in keys]

    async def _asked(
        self, missing: Mapping[str, Request], known: Mapping[str, Reply], total: int
    ) -> dict[str, Reply]:
        kept = len(known)
        log.info("%s", foretold(self._spec, list(missing.values()), kept, self._tokens))
        budget = Budget(self._spec, self._verdicts.spent(self._spec.price))
        has_logprobs = any(reply.first_token for reply in known.values())
        async with Chat(self._spec, has_logprobs=has_logprobs) as chat:
            work = _Pass(chat, self._spec, self._verdicts, budget, self._stop, proven=kept > 0)
            return await work.through(missing, lambda done: self._follow(kept + done, total))


class _Pass:
    """One pass through what is missing.

    Args:
        proven: whether the judge has replied to other requests of this kind, so that a refusal is of its own prompt.
    """

    def __init__(
        self, chat: Chat, spec: config.Served, verdicts: Verdicts, budget: Budget, stop: Stop, *, proven: bool
    ) -> None:
        self._chat, self._spec, self._verdicts = chat, spec, verdicts
        self._budget, self._stop, self._proven = budget, stop, proven
        self._todo: deque[tuple[str, Request]] = deque()
        self._replies: dict[str, Reply] = {}
        self._refusals: dict[str, Reply] = {}
        self._arrived: list[Verdict] = []
        self._writing = asyncio.Lock()
        self._models: set[str] = set()
        self._failed: BaseException | None = None

    async def through(
        self, missing: Mapping[str, Request], follow: Callable[[int], None]
    ) -> dict[str, Reply]:
        """The replies by key; each is kept before the next is asked for in its place.

        Raises:
            UserError: see `ServedJudge.replies`.
        """
        self._todo.extend(missing.items())
        try:
            # One alone until a reply is there: what no request would survive shows at the first.
            await self._finished([self._work(follow, alone=True)])
            await self._finished([self._work(follow) for _ in range(self._spec.concurrency)])
        finally:
            try:
                self._verdicts.keep(self._arrived)
            finally:
                self._verdicts.lose(self._budget.lost + self._budget.reserved)
        if len(self._replies) + len(self._refusals) < len(missing):
            raise self._ended_early(len(missing))
        self._check_refusals(1)
        return self._replies | self._refusals

    async def _finished(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Wait for workers; when one fails or somebody says stop, no longer than a grace for what is on its way."""
        workers = {asyncio.create_task(each) for each in work}
        going, until = workers, inf
        try:
            while going and time.monotonic() < until:
                done, going = await asyncio.wait(going, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                for error in filter(None, (worker.exception() for worker in done)):
                    self._failed = self._failed or error
                if self._failed or self._stop.is_set():
                    until = min(until, time.monotonic() + GRACE)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self._failed:
            raise self._failed

    async def _work(self, follow: Callable[[int], None], *, alone: bool = False) -> None:
        while self._todo and self._may_ask(self._todo[0][1]) and not (alone and self._replies):
            key, request = self._todo.popleft()
            self._budget.reserve(request)
            await self._ask(key, request)
            follow(len(self._replies) + len(self._refusals))

    def _may_ask(self, request: Request) -> bool:
        return not self._failed and not self._stop.is_set() and self._budget.allows(request)

    async def _ask(self, key: str, request: Request) -> None:
        try:
            said = await self._chat.ask(request, lambda: self._budget.lose(request))
        except Refused as refusal:
            self._refusals[key] = Reply(str(refusal), bill=Bill(), refused=True)
            self._budget.settle(request, 0.0)
            return self._check_refusals(REFUSED_TO_STOP)
        except UserError:
            self._budget.settle(request, 0.0)  # its tries are lost, or were not billed
            raise
        self._replies[key] = said.reply
        self._arrived.append(Verdict(key, said.reply, said.served))
        await self._keep()
        self._note_model(said.served)
        return self._budget.settle(request, said.reply.bill.cost)

    async def _keep(self) -> None:
        """Write what has arrived; who waited for another's turn may find that it was written with it."""
        async with self._writing:
            arrived, self._arrived = self._arrived, []
            try:
                await asyncio.to_thread(self._verdicts.keep, arrived)
            except BaseException:
                self._arrived += arrived  # for who comes next; to keep twice is to keep
                raise

    def _check_refusals(self, enough: int) -> None:
        if len(self._refusals) >= enough and not (self._replies or self._proven):
            words = next(iter(self._refusals.values())).text
            raise UserError(
                f"{self._chat.where}: refused every request; it said: {words}; "
                "judge.body and judge.temperature change what is sent"
            )

    def _note_model(self, served: str | None) -> None:
        if served is None or served in self._models:
            return
        self._models.add(served)
        if len(self._models) > 1:
            log.warning(
                "%s: replies name different models: %s", self._chat.where, ", ".join(sorted(self._models))
            )

    def _ended_early(self, wanted: int) -> UserError:
        left = wanted - len(self._replies) - len(self._refusals)
        here = f"{len(self._replies)} verdicts came and are kept, {left} are left"
        if self._stop.is_set():
            return Stopped(f"stopped; {here}")
        return UserError(
            f"judge.budget={self._spec.budget:g}: {self._budget.spent:.2f} USD are spent, and the next verdict might "
            f"exceed it; {here}; raise it, and the same command goes on"
        )
