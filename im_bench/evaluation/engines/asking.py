"""What every engine does besides answering: it counts, measures, keeps and resumes.

`Asking` is mixed into lm-eval's model classes. Between `begin` and `end` it serves one benchmark: answers are kept
in a file as they come, so that an interrupted benchmark goes on; outside, the class is lm-eval's own.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, TemplateLM, hash_args
from lm_eval.models.utils import normalize_gen_kwargs

from im_bench.config import UserError
from im_bench.drafts import drafted

logging.getLogger("lm_eval").setLevel(logging.ERROR)


class Draw(NamedTuple):
    """One continuation to write; equal draws are equal texts."""

    prompt: list[int]
    seed: int


class Sampling(NamedTuple):
    """How continuations are drawn, and where they end. Temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...]


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


def begun_once(tokenizer: Any, text: str | Sequence[str], ids: list[Any]) -> list[Any]:
    """The tokens of a text, or of several, without the start token that was added to one that begins with it.

    A chat template may write it; transformers and vLLM add none then, the others of lm-eval's models do.
    """
    if not isinstance(text, str):
        return [begun_once(tokenizer, *pair) for pair in zip(text, ids, strict=True)]
    start = tokenizer.bos_token
    twice = start is not None and text.startswith(start) and ids[:2] == [tokenizer.bos_token_id] * 2
    return ids[1:] if twice else ids


def no_numbers(what: str) -> UserError:
    """Of such a model the first choice or token would be the likeliest, and its score look like one."""
    return UserError(f"the model's {what} are no numbers (NaN): its training diverged, or it is broken")


class Size(NamedTuple):
    """Tokens of one request."""

    prompt: int
    answer: int
    """Of the continuation that is scored, or the most that may be written."""
    cut: int
    """Of the prompt, from its beginning, for which the model has no room."""


class Answered(CacheHook):
    """The requests of one benchmark that have their answers, in a file and told to whoever follows."""

    def __init__(self, file: Path, follow: Callable[[int], None]) -> None:
        super().__init__(None)
        self.answers: dict[str, Any] = {}
        self.sizes: dict[str, Size] = {}
        self._follow = follow
        self._file = file
        for line in _whole_lines(file):
            key, answer, size = json.loads(line)
            self.answers[key], self.sizes[key] = answer, Size(*size)
        # Rewritten, because the last line may be cut.
        with drafted(file) as draft:
            draft.write_text("".join(self._line(key) for key in self.answers), encoding="utf-8")
        self._stream = file.open("a", encoding="utf-8", buffering=1)
        follow(len(self.answers))

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """What lm-eval's models call at each answer; some with other words than were asked, which is told only."""
        key = hash_args(attr, req)
        if key in self.sizes and key not in self.answers:
            self.keep(key, res)

    def keep(self, key: str, answer: Any) -> None:
        if isinstance(answer, tuple) and math.isnan(answer[0]):
            raise no_numbers("log-likelihoods")
        self.answers[key] = answer
        self._stream.write(self._line(key))
        self._follow(1)

    def _line(self, key: str) -> str:
        return json.dumps([key, self.answers[key], self.sizes[key]]) + "\n"

    def end(self, *, delete: bool) -> None:
        self._stream.close()
        if delete:
            self._file.unlink()


def _whole_lines(file: Path) -> Iterator[str]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield line


class Asking(TemplateLM):
    """A model of lm-eval that serves benchmarks one after the other."""

    answered: Answered | None = None
    room: int
    """Tokens of a prompt and its scored continuation that the model takes."""
    chunk: int | None = None
    """Texts that lm-eval's class writes without telling of any; None where it tells of each as it comes."""

    def write(self, draws: Sequence[Draw], how: Sampling, done: Callable[[int], None]) -> list[str]:
        """A text for each draw, without end token and stop string, its first space kept.

        Args:
            done: told how many more are written.
        """
        raise NotImplementedError  # each engine has its own

    def begin(self, file: Path, follow: Callable[[int], None]) -> None:
        """From now on the requests are one benchmark's, its answers kept in `file`; those in it are not asked again."""
        self.answered = Answered(file, follow)
        self.set_cache_hook(self.answered)

    def end(self, *, whole: bool) -> None:
        """The benchmark has all its answers, or was interrupted."""
        assert self.answered
        self.answered.end(delete=whole)
        self.answered = None
        self.set_cache_hook(CacheHook(None))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        return self._answers("loglikelihood", super().loglikelihood, requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        if self.answered:
            self._measure_prompts(requests)
        return self._answers("generate_until", super().generate_until, requests)

    def _answers(self, kind: str, ask: Callable[..., list[Any]], requests: list[Instance]) -> list[Any]:
        if not self.answered:
            return ask(requests, disable_tqdm=True)
        keys = [hash_args(kind, request.args) for request in requests]
        kept = self.answered.answers
        chunk = self.chunk if kind == "generate_until" else None
        while rest := [
            (key, request) for key, request in zip(keys, requests, strict=True) if key not in kept
        ]:
            asked = rest[:chunk]
            try:
                found = ask([request for _, request in asked], disable_tqdm=True)
            except RuntimeError as error:
                self.use_less_memory(error)
                continue
            for (key, _), answer in zip(asked, found, strict=True):
                if key not in kept:
                    self.answered.keep(key, answer)
        return [tuple(kept[key]) if kind == "loglikelihood" else kept[key] for key in keys]

    def use_less_memory(self, error: RuntimeError) -> None:
        """Ask less at once from now on; the error, where it is not of memory or nothing is less."""
        raise error

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **options: Any
    ) -> list[tuple[float, bool]]:
        if self.answered:
            for pair, prompt, continuation in requests:
                if len(continuation) > self.room - 1:
                    raise UserError(
                        f"an answer to score has {len(continuation)} tokens and the model holds {self.max_length}; "
                        "leave the benchmark out, or take a model with a longer context"
                    )
                cut = max(0, len(prompt) + len(continuation) - self.room)
                size = Size(len(prompt), len(continuation), cut)
                self.answered.sizes[hash_args("loglikelihood", pair)] = size
            self.expect(max((len(prompt) + len(said) for _, prompt, said in requests), default=1))
        return super()._loglikelihood_tokens(requests, **options)

    def _measure_prompts(self, requests: list[Instance]) -> None:
        assert self.answered
        longest = 1
        for request in requests:
            text, options = request.args
            new = normalize_gen_kwargs(options, self.max_gen_toks)["max_gen_toks"]
            if new >= self.max_length:
                raise UserError(
                    f"answers may have {new} tokens and the model holds {self.max_length}, prompt included; "
                    "leave the benchmark out, or take a model with a longer context"
                )
            num_tokens = len(self.tok_encode(text))
            cut = max(0, num_tokens + new - self.max_length)
            longest = max(longest, num_tokens - cut + new)
            self.answered.sizes[hash_args("generate_until", request.args)] = Size(num_tokens, new, cut)
        self.expect(longest)

    def expect(self, tokens: int) -> None:
        """The longest request of what follows has so many tokens."""
