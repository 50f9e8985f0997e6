"""One verdict from a language model, behind any OpenAI-compatible endpoint. The only module that knows the SDK."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from im_bench import config
from im_bench.config import UserError
from im_bench.judging.bills import cost
from im_bench.judging.judge import Bill, Reply, Request

FIRST_TRIES = 6
"""Of a server that has not given one good reply yet; later a request is tried until its deadline."""
LONGEST_PAUSE = 60
"""Seconds between two tries, unless the server asks for more."""
REFUSING = frozenset({400, 413, 422})
"""Status codes of what is wrong with one request: too long, filtered."""
TOLD_PAUSE = 10
"""Seconds of a pause from which on it is told."""
PASSING = frozenset({408, 409, 425, 429})
"""Status codes below 500 of troubles that pass."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of a 429 that does not pass."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """The server finds this one request bad: its prompt is too long for the model, say, or filtered."""


class Malformed(Exception):
    """What came is no completion: half a body, or another protocol."""


class Said(NamedTuple):
    """A reply, and who gave it by its own account."""

    reply: Reply
    served: str | None


class Chat:
    """A client of one endpoint, for one event loop: paced by the server's rate limits, and patient.

    Args:
        has_logprobs: whether its replies are known to have log-probabilities.
    """

    def __init__(self, spec: config.Served, *, has_logprobs: bool = False) -> None:
        self._spec = spec
        self._client = openai.AsyncOpenAI(
            api_key=key(spec), base_url=spec.base_url, timeout=spec.timeout_seconds, max_retries=0
        )
        self._pace = Pace()
        self._heard = False
        self._has_logprobs = has_logprobs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, request: Request, lost: Callable[[], None] = lambda: None) -> Said:
        """One verdict, asked for again while what goes wrong may pass.

        Args:
            lost: told of each try that had no reply although the server may have made one.

        Raises:
            Refused: the server finds the request bad.
            UserError: what the next request would meet as well, or a trouble that outlasts the deadline.
        """
        tries = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
            stop=self._gives_up,
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            said: Said = await tries(self._once, request, lost)
        except (openai.OpenAIError, Malformed, TimeoutError) as error:
            if isinstance(error, openai.APIStatusError) and error.status_code in REFUSING:
                raise Refused(self._shown(error.message)) from None
            raise self._explained(error) from None
        self._heard = True
        return said

    async def _once(self, request: Request, lost: Callable[[], None]) -> Said:
        await self._pace.turn(self._spec.deadline_seconds, self.where)
        try:
            async with asyncio.timeout(self._spec.timeout_seconds):  # the SDK's is of each read
                raw = await self._client.chat.completions.with_raw_response.create(**self._wanted(request))
        except openai.APIStatusError as error:
            self._pace.heard(error.response.headers, error.status_code)
            raise
        except (openai.APIConnectionError, TimeoutError):
            if self._heard:
                lost()
            raise
        self._pace.heard(raw.headers, raw.status_code)
        try:
            return self._read(raw.http_response.json(), request)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            lost()
            raise Malformed(self._shown(raw.http_response.text)) from None

    def _wanted(self, request: Request) -> dict[str, Any]:
        spec = self._spec
        wanted: dict[str, Any] = {"model": spec.model, "messages": request.messages}
        if "max_completion_tokens" not in spec.body:
            wanted["max_tokens"] = request.max_tokens
        if spec.temperature is not None:
            wanted["temperature"] = spec.temperature
        if spec.temperature:
            wanted["seed"] = request.seed
        if request.top_logprobs:
            wanted |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return {**wanted, "extra_body": spec.body}

    def _read(self, body: Mapping[str, Any], request: Request) -> Said:
        """A completion as sent; one without content says why it is none, or nothing."""
        choice, usage = body["choices"][0], body.get("usage") or {}
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        bill = self._bill(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
        alternatives = self._first_token(choice, request) if message.get("content") else None
        whole = str(text).encode(errors="replace").decode()  # half a character cannot be kept
        served = body.get("model")
        return Said(Reply(whole, alternatives, bill), served if isinstance(served, str) else None)

    def _first_token(self, choice: Mapping[str, Any], request: Request) -> dict[str, float] | None:
        if not request.top_logprobs:
            return None
        tokens = (choice.get("logprobs") or {}).get("content")
        if tokens:
            self._has_logprobs = True
            return {each["token"]: float(each["logprob"]) for each in tokens[0]["top_logprobs"]}
        if self._has_logprobs:
            return None
        raise UserError(
            f"{self.where}: the reply has no log-probabilities, which AlpacaEval 2.0 weighs; use "
            "judge.pairwise=ranking, which is another judge in tables, or a server that returns them"
        )

    def _bill(self, prompt_tokens: int | None, answer_tokens: int | None) -> Bill:
        bill, price = Bill(prompt_tokens, answer_tokens, None), self._spec.price
        if price is None or prompt_tokens is None or answer_tokens is None:
            return bill
        return bill._replace(cost=cost(bill, price))

    def _gives_up(self, state: RetryCallState) -> bool:
        error = state.outcome and state.outcome.exception()
        if not self._heard and isinstance(error, openai.APIConnectionError | Malformed | TimeoutError):
            return state.attempt_number >= FIRST_TRIES
        return (state.seconds_since_start or 0) > self._spec.deadline_seconds

    def _explained(self, error: Exception) -> UserError:
        where, spec = self.where, self._spec
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return UserError(
                    f"{where}: the key is not accepted; set judge.api_key_env, now {spec.api_key_env}"
                )
            case openai.NotFoundError():
                retired = f" ({spec.retired})" if spec.retired else ""
                return UserError(
                    f"{where}: there is no such model or address{retired} ({self._shown(error.message)}); set "
                    "judge.model or judge.base_url"
                )
            case openai.APITimeoutError() | TimeoutError():
                return UserError(
                    f"{where}: no answer within judge.timeout_seconds={spec.timeout_seconds:g}, again and again"
                )
            case openai.APIConnectionError():
                return UserError(f"{where}: no answer ({error.message}); is it up? set judge.base_url")
            case Malformed():
                return UserError(f"{where}: what it sends is no completion: {error}; set judge.base_url")
            case openai.APIStatusError():
                return UserError(f"{where}: status {error.status_code}: {self._shown(error.message)}")
            case _:
                return UserError(f"{where}: {self._shown(str(error))}")

    def _shown(self, text: str) -> str:
        """A server's words on one line, not too many, and without the key, which some repeat."""
        secret = self._client.api_key if self._spec.api_key_env else None
        return " ".join((text.replace(secret, "[key]") if secret else text).split())[:300]

    @property
    def where(self) -> str:
        return f"judge {self._spec.name}, model {self._spec.model} at {self._client.base_url}"


class Pace:
    """When the next request may go: not before the server's headers say so."""

    def __init__(self) -> None:
        self._opens = 0.0

    async def turn(self, patience: float, where: str) -> None:
        """Wait for it.

        Raises:
            UserError: when that is longer than one has patience, in seconds.
        """
        while (wait := self._opens - time.monotonic()) > 0:
            if wait > patience:
                raise UserError(
                    f"{where}: asks for a pause of {wait:.0f} s, longer than judge.deadline_seconds"
                )
            await asyncio.sleep(wait)

    def heard(self, headers: Mapping[str, str], status: int) -> None:
        """Take a pause where one is asked for, or where no request or token is left until a reset."""
        pauses = [
            _seconds(headers.get(f"x-ratelimit-reset-{of}"))
            for of in ("requests", "tokens")
            if _none_left(headers, of)
        ]
        if status >= 400:
            pauses.append(_retry_after(headers))
        pause = max(pauses, default=0.0)
        if pause > TOLD_PAUSE and time.monotonic() + pause > self._opens + TOLD_PAUSE:
            log.info("the judge's server asks for a pause of %.0f s", pause)
        self._opens = max(self._opens, time.monotonic() + pause)


def key(spec: config.Served) -> str:
    """The key; servers of one's own ask for none, but the SDK insists on some text.

    Raises:
        UserError: when the environment variable is not set.
    """
    if spec.api_key_env is None:
        return "none"
    found = os.environ.get(spec.api_key_env, "").strip()
    if not found:
        raise UserError(
            f"judge.api_key_env={spec.api_key_env}: the environment variable is not set; "
            f"export {spec.api_key_env}=KEY, or judge.api_key_env=null where none is needed"
        )
    if not (found.isascii() and found.isprintable()):
        raise UserError(
            f"judge.api_key_env={spec.api_key_env}: holds signs that no key has; copy the key again"
        )
    return found


def _passes(error: BaseException) -> bool:
    """Whether a trouble may be gone a little later."""
    match error:
        case openai.RateLimitError():
            return error.code not in SPENT
        case openai.APIStatusError():
            return error.status_code in PASSING or error.status_code >= 500
        case openai.APIConnectionError() | Malformed() | TimeoutError():
            return True
    return False


def _count(said: object) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else None


def _none_left(headers: Mapping[str, str], of: str) -> bool:
    return headers.get(f"x-ratelimit-remaining-{of}", "").strip() == "0"


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from one of the three forms in which servers ask for a pause."""
    if exact := headers.get("retry-after-ms"):
        return _number(exact) / 1000
    asked = headers.get("retry-after", "")
    if not asked or re.fullmatch(r"[\d.]+", asked):
        return _number(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0


def _seconds(reset: str | None) -> float:
    """Seconds of a duration such as `6m0s`, `1.5s` or `20ms`; a bare number is seconds, anything else none."""
    if not re.fullmatch(r"([\d.]+(ms|h|m|s|))+", reset or ""):
        return 0.0
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    return sum(
        _number(count) * units[unit] for count, unit in re.findall(r"([\d.]+)(ms|h|m|s|)", reset or "")
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
