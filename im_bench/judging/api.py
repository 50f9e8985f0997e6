"""A language model as judge, behind any OpenAI-compatible endpoint. The only module that knows the SDK."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import openai
from openai.types.chat.chat_completion import Choice

from im_bench import config
from im_bench.config import UserError
from im_bench.judging.judge import Reply, Request

MAX_RETRIES = 8
"""Of one request, by the SDK: time-outs, dropped connections, 408, 409, 429 and 5xx, with growing pauses."""

log = logging.getLogger(__name__)


class API:
    """A served model. `spec` says which and where; the key stays in its environment variable."""

    def __init__(self, spec: config.Judge) -> None:
        self._spec = spec
        self._client = openai.OpenAI(
            api_key=_key(spec),
            base_url=spec.base_url,
            timeout=spec.timeout_seconds,
            max_retries=MAX_RETRIES,
        )

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def note(self) -> None:
        return None

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Ask `concurrency` requests at a time.

        A request that the server finds bad (its prompt is too long for the model, say) has no reply.

        Raises:
            UserError: at the first failure that the next request would meet as well, and when the server
                finds every request bad.
        """
        refusals: list[str] = []
        with ThreadPoolExecutor(self._spec.concurrency) as pool:
            # map's iterator cancels what is queued when one request raises, so a wrong key is tried once
            # per thread and not once per request.
            replies = list(pool.map(lambda request: self._reply(request, refusals), requests))
        if requests and len(refusals) == len(requests):
            raise UserError(f"{self._where()}: refused every request; the last time it said: {refusals[-1]}")
        return replies

    def _reply(self, request: Request, refusals: list[str]) -> Reply | None:
        try:
            completion = self._client.chat.completions.create(
                model=self._spec.model,
                messages=request.messages,  # type: ignore[arg-type]  # the SDK wants one typed dict per role
                temperature=self._spec.temperature,
                max_tokens=request.max_tokens,
                logprobs=True if request.top_logprobs else openai.omit,
                top_logprobs=request.top_logprobs or openai.omit,
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            log.warning("%s: request refused: %s", self._where(), error.message)
            refusals.append(error.message)
            return None
        except openai.OpenAIError as error:
            raise self._explained(error) from None
        return self._read(completion.choices[0], request) if completion.choices else None

    def _read(self, choice: Choice, request: Request) -> Reply | None:
        if choice.message.content is None:
            return None
        if not request.top_logprobs:
            return Reply(choice.message.content)
        if choice.logprobs is None or not choice.logprobs.content:
            raise UserError(
                f"{self._where()}: the reply has no log-probabilities, which AlpacaEval 2.0 weighs; "
                "choose a judge that returns them, or benchmark alpaca_eval_1"
            )
        alternatives = choice.logprobs.content[0].top_logprobs
        return Reply(choice.message.content, {each.token: each.logprob for each in alternatives})

    def _explained(self, error: openai.OpenAIError) -> UserError:
        where, spec = self._where(), self._spec
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return UserError(
                    f"{where}: the key is not accepted; set judge.api_key_env, now {spec.api_key_env}"
                )
            case openai.NotFoundError():
                return UserError(
                    f"{where}: there is no such model or address; set judge.model or judge.base_url"
                )
            case openai.APIConnectionError():
                return UserError(f"{where}: no answer ({error.message}); is it up? set judge.base_url")
            case _:
                return UserError(f"{where}: {error}")

    def _where(self) -> str:
        return f"judge={self._spec.name}, model {self._spec.model} at {self._client.base_url}"


def _key(spec: config.Judge) -> str:
    """The key; servers of one's own ask for none, but the SDK insists on some text."""
    if spec.api_key_env is None:
        return "none"
    key = os.environ.get(spec.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"judge.api_key_env={spec.api_key_env}: the environment variable is not set; "
            f"export {spec.api_key_env}=KEY, or judge.api_key_env=null where none is needed"
        )
    return key
