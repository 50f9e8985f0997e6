"""One loaded model that serves every benchmark of a cell: lm-eval's `LM` object, and what we ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

from im_bench import config
from im_bench.checkpoint import Checkpoint, added_tokens, load_model, load_tokenizer, place
from im_bench.config import UserError
from im_bench.data.conversations import Role, Turn
from im_bench.data.encoding import prompt_ids
from im_bench.data.templates import turn_end
from im_bench.evaluation.engines import check_installed
from im_bench.evaluation.engines.asking import Answered, Asking, Draw, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ANSWERED = "answered.jsonl"
"""In a step's folder while it runs: what the model has answered so far."""


class Engine:
    """A model behind lm-eval's interface, with the checkpoint's own tokenizer and chat template.

    Args:
        name: of the engine, as in conf/engine/.
        weights: where the model is, for records.
    """

    def __init__(
        self, lm: Asking, tokenizer: PreTrainedTokenizerFast, *, name: str = "hf", weights: str = ""
    ) -> None:
        self.lm = lm
        self.tokenizer = tokenizer
        self.name = name
        self.weights = weights
        # A template may end turns with another token than the tokenizer's end token; models learn to write it.
        self.end = turn_end(tokenizer) if tokenizer.chat_template else tokenizer.eos_token

    @contextmanager
    def benchmark(self, out: Path, follow: Callable[[int], None]) -> Iterator[Answered]:
        """Serve one benchmark of the harness in this block: its answers are kept in `out` until it is whole.

        Args:
            follow: told how many more requests are answered.
        """
        self.lm.begin(out / ANSWERED, follow)
        assert self.lm.answered
        try:
            yield self.lm.answered
        except BaseException:
            self.lm.end(whole=False)
            raise
        self.lm.end(whole=True)

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of a chat up to where the assistant's answer begins, as training encodes them."""
        turns = [Turn(cast(Role, message["role"]), message["content"].strip()) for message in messages]
        return prompt_ids(self.tokenizer, turns)

    def text_prompt(self, text: str) -> list[int]:
        """The tokens of a text that is no chat, as the harness encodes it."""
        return self.lm.tok_encode(text)

    def num_tokens(self, text: str) -> int:
        """Of a text that the model wrote."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def num_cut(self, prompt: Sequence[int], max_new_tokens: int) -> int:
        """How many tokens `generate` leaves out of a prompt, from its beginning, for want of room."""
        return max(0, len(prompt) + max_new_tokens - self.lm.max_length)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        top_p: float = 1.0,
        stop: tuple[str, ...] = (),
        done: Callable[[int], None] = lambda more: None,
    ) -> list[str]:
        """Continue each prompt to its end token or a stop string, neither in the answer, or `max_new_tokens`.

        Args:
            temperature: 0 is greedy.
            seed: of the sampling; a prompt given twice gets two draws. What is drawn for a prompt depends on its
                place among the prompts, and not on the others or on how many are computed at once.
            done: told how many more are written.

        Raises:
            UserError: when the model has no room for a prompt beside that many new tokens.
        """
        room = self.lm.max_length - max_new_tokens
        if room <= 0:
            raise UserError(
                f"max_new_tokens={max_new_tokens}: the model holds {self.lm.max_length}, prompt included; "
                "ask for fewer, or leave the benchmark out"
            )
        draws = [
            Draw(list(prompt)[-room:], Random(f"{seed}/{index}").getrandbits(32))
            for index, prompt in enumerate(prompts)
        ]
        how = Sampling(max_new_tokens, temperature, top_p, (*stop, self.end))
        return self.lm.write(draws, how, done) if draws else []


def open_engine(checkpoint: Checkpoint, spec: config.Engine, runtime: config.Runtime) -> Engine:
    """Load a checkpoint for evaluation.

    Raises:
        UserError: the engine is not installed, or cannot take this checkpoint.
    """
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # any token: padding is masked
    lm: Asking
    match spec:
        case config.HF():
            from im_bench.evaluation.engines import hf

            model = load_model(checkpoint, dtype="auto").eval()
            place(model, runtime)
            at_once = None if spec.batch_size == "auto" else spec.batch_size
            lm = hf.Model(model, tokenizer, at_once=at_once)
        case config.Fast():
            lm = _fast(checkpoint, spec)
        case config.Server():
            from im_bench.evaluation.engines import server

            lm = server.Model(checkpoint, spec)
    return Engine(lm, tokenizer, name=spec.kind, weights=checkpoint.weights)


def _fast(checkpoint: Checkpoint, spec: config.Fast) -> Asking:
    check_installed(spec)
    if added_tokens(checkpoint):
        raise UserError(
            f"engine={spec.kind}: the chat template has control tokens that {checkpoint.weights} has no weights for; "
            "use engine=hf, or model.chat_template=tulu, which has none"
        )
    if spec.kind == "vllm":
        from im_bench.evaluation.engines import vllm

        return vllm.Model(checkpoint, spec)
    from im_bench.evaluation.engines import sglang

    return sglang.Model(checkpoint, spec)
