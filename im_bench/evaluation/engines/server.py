"""A completions server as the engine, in OpenAI's protocol; prompts are sent as token ids."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import requests
from aiohttp import ClientConnectionError, ClientError
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

from im_bench import config
from im_bench.checkpoint import Checkpoint, context_length, load_tokenizer
from im_bench.config import UserError
from im_bench.evaluation.engines.asking import Asking, Draw, Sampling, begun_once

# They tell of each attempt with its traceback; what comes of all is told once.
for talker in ("lm_eval.models.api_models", "asyncio"):
    logging.getLogger(talker).setLevel(logging.CRITICAL)


class Model(Asking, LocalCompletionsAPI):
    """lm-eval's model of a completions server.

    Raises:
        UserError: the server does not answer, or does not serve the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, spec: config.Server) -> None:
        self._spec = spec
        self._url = spec.base_url.rstrip("/")
        served = self._served(checkpoint)
        tokenizer = load_tokenizer(checkpoint.tokenizer)
        super().__init__(
            base_url=f"{self._url}/completions",
            model=served["id"],
            tokenizer=str(checkpoint.tokenizer),
            tokenizer_backend="huggingface",
            # Left to itself it begins no text with the tokenizer's start token; the other engines ask the tokenizer.
            add_bos_token=tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id],
            num_concurrent=max(
                2, spec.concurrency
            ),  # one at a time takes another path through lm-eval, to no gain
            max_retries=spec.retries,
            timeout=int(spec.timeout_seconds),
            max_length=self._length(served, checkpoint),
        )
        self.room = self.max_length
        self.max_gen_toks = self._max_gen_toks

    @property
    def api_key(self) -> str:
        name = self._spec.api_key_env
        if name is None:
            return "none"
        if not os.environ.get(name):
            raise UserError(
                f"engine.api_key_env={name}: the environment variable is not set; export {name}=KEY"
            )
        return os.environ[name]

    def tok_encode(self, string: str | Sequence[str], *arguments: Any, **options: Any) -> list[Any]:
        return begun_once(self.tokenizer, string, super().tok_encode(string, *arguments, **options))

    def loglikelihood(self, *arguments: Any, **options: Any) -> list[tuple[float, bool]]:
        return self._told(super().loglikelihood, *arguments, **options)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        return self._told(super().generate_until, requests)

    def write(self, draws: Sequence[Draw], how: Sampling, done: Callable[[int], None]) -> list[str]:
        answers = self._told(self._write, draws, how)
        done(len(draws))
        return answers

    def _write(self, draws: Sequence[Draw], how: Sampling) -> list[str]:
        keys = [("write", place) for place in range(len(draws))]
        found = self.get_batched_requests(list(draws), keys, generate=True, gen_kwargs={"how": how})
        return list(chain.from_iterable(asyncio.run(found)))

    def _create_payload(
        self, messages: Any, generate: bool = False, gen_kwargs: Any = None, **options: Any
    ) -> dict:
        if not generate or "how" not in gen_kwargs:
            return super()._create_payload(messages, generate=generate, gen_kwargs=gen_kwargs, **options)
        (draw,), how = messages, gen_kwargs["how"]
        return {
            "model": self.model,
            "prompt": [draw.prompt],
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "stop": list(how.stop) or None,
            "seed": draw.seed,
        }

    def _told(self, ask: Callable[..., list[Any]], *arguments: Any, **options: Any) -> list[Any]:
        """What the last of all retries met, in words."""
        try:
            return ask(*arguments, **options)
        except (ClientError, TimeoutError, OSError) as error:
            status = getattr(error, "status", None)
            if status in (400, 401, 403, 404, 413, 422):
                raise UserError(
                    f"{self._where()}: it refuses a request (status {status}); its own log says why"
                ) from error
            raise UserError(
                f"{self._where()}: {_sentence(error)}, {self._spec.retries} times; what was answered is kept, and "
                "the same command goes on"
            ) from error
        except json.JSONDecodeError as error:
            raise self._no_completion(error) from error

    def parse_logprobs(self, outputs: Any, **options: Any) -> list[tuple[float, bool]]:
        return self._read(super().parse_logprobs, outputs, **options)

    def parse_generations(self, outputs: Any, **options: Any) -> list[str]:
        return self._read(super().parse_generations, outputs, **options)

    def _read(self, parse: Callable[..., list[Any]], outputs: Any, **options: Any) -> list[Any]:
        try:
            return parse(outputs, **options)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._no_completion(error) from error

    def _no_completion(self, error: Exception) -> UserError:
        return UserError(
            f"{self._where()}: the reply has no log-probabilities of the prompt (echo with logprobs), or is no "
            f"completion ({type(error).__name__}: {error})"
        )

    def _served(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the server says of the model that is the checkpoint."""
        wanted = {checkpoint.weights, str(Path(checkpoint.weights).resolve())}
        models = self._models()
        for model in models:
            named = self._spec.model is not None and model["id"] == self._spec.model
            if named:
                self._check_root(model, checkpoint)
            if named or (self._spec.model is None and wanted & {model["id"], model.get("root")}):
                return model
        names = ", ".join(model["id"] for model in models) or "none"
        if self._spec.model is not None:
            raise UserError(f"engine.model={self._spec.model}: {self._url} has no such model; it has {names}")
        raise UserError(
            f"{self._where()}: it serves {names}, and not this checkpoint; start one with `vllm serve "
            f"{checkpoint.weights} --tokenizer {checkpoint.tokenizer}`, or say which it is with engine.model=NAME"
        )

    def _check_root(self, model: dict[str, Any], checkpoint: Checkpoint) -> None:
        """A name is any; but where a folder is served, it is the checkpoint's. A hub's model may be a copy."""
        root, own = Path(model.get("root") or checkpoint.weights), Path(checkpoint.weights)
        local = root.is_absolute() or root.exists()
        if local and own.exists() and root.resolve() != own.resolve():
            raise UserError(
                f"engine.model={self._spec.model}: {self._url} serves {root} under this name, and not this "
                f"checkpoint, {own}; serve that, under its own path and engine.model=null"
            )

    def _models(self) -> list[dict[str, Any]]:
        try:
            reply = requests.get(
                f"{self._url}/models", headers={"Authorization": f"Bearer {self.api_key}"}, timeout=30
            )
            reply.raise_for_status()
            return [dict(model) for model in reply.json()["data"]]
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._where()}: no list of models ({_sentence(error)}); is it up?") from error

    def _length(self, served: dict[str, Any], checkpoint: Checkpoint) -> int:
        """What the model holds; where the server holds less, it must be said, as scores depend on it."""
        holds: int | None = served.get("max_model_len")
        said = self._spec.max_length
        if said is not None:
            if holds is not None and said > holds:
                raise UserError(
                    f"engine.max_length={said}: {self._url} holds {holds} tokens; say so many, or serve it with more"
                )
            return said
        if holds is None:
            raise UserError(
                f"{self._where()}: it does not say how many tokens {served['id']} holds; give engine.max_length=NUMBER"
            )
        own = context_length(checkpoint)
        if own is None:
            raise UserError(
                f"{self._where()}: it holds {holds} tokens, and the model's config does not say how many it does; "
                f"say engine.max_length={holds}"
            )
        if holds < own:
            raise UserError(
                f"{self._where()}: it holds {holds} tokens and the model {own}; serve it with all, or say "
                f"engine.max_length={holds}"
            )
        return own

    def _where(self) -> str:
        return f"engine.base_url={self._url}"


def _sentence(error: BaseException) -> str:
    if isinstance(error, requests.ConnectionError | ClientConnectionError):
        return "no connection"
    status = getattr(error, "status", None)
    return f"status {status}" if status else " ".join(f"{type(error).__name__} {error}".split())[:200]
