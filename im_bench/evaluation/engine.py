"""One loaded model that serves every benchmark of a cell: lm-eval's `LM` object, and what we ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from im_bench.checkpoint import Checkpoint, load_model, load_tokenizer, place
from im_bench.config import Runtime, UserError
from im_bench.data.conversations import Role, Turn
from im_bench.data.encoding import prompt_ids
from im_bench.data.templates import turn_end


class Model(HFLM):
    """lm-eval's model, without its progress bars, which would fight ours for the terminal."""

    ours = False
    """Whether what we ask is generated, and not the harness: a prompt is then the ids of its tokens, spelled in
    digits, and a continuation keeps its first space, which SentencePiece decoders drop from a text's start."""

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def tok_encode(self, string: str, *arguments: Any, **options: Any) -> list[int]:
        return _read(string) if self.ours else super().tok_encode(string, *arguments, **options)

    def tok_batch_encode(
        self, strings: list[str], *arguments: Any, left_truncate_len: int | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.ours:
            return super().tok_batch_encode(
                strings, *arguments, left_truncate_len=left_truncate_len, **options
            )
        rows = [_read(string)[-(left_truncate_len or 0) :] for string in strings]
        ids_bt = torch.full((len(rows), max(map(len, rows))), self.tokenizer.pad_token_id)
        mask_bt = torch.zeros_like(ids_bt)
        for row, ids in enumerate(rows):
            ids_bt[row, -len(ids) :] = torch.tensor(ids)
            mask_bt[row, -len(ids) :] = 1
        return ids_bt, mask_bt

    def tok_decode(self, tokens: int | list[int], skip_special_tokens: bool = True) -> str:
        if not self.ours or isinstance(tokens, int):
            return super().tok_decode(tokens, skip_special_tokens)
        anchor = self.tokenizer.encode("a", add_special_tokens=False)
        start = len(self.tokenizer.decode(anchor, skip_special_tokens=skip_special_tokens))
        return self.tokenizer.decode(anchor + list(tokens), skip_special_tokens=skip_special_tokens)[start:]


class Engine:
    """A model behind lm-eval's interface, with the checkpoint's own tokenizer and chat template."""

    def __init__(self, lm: Model, tokenizer: PreTrainedTokenizerFast):
        self.lm = lm
        self.tokenizer = tokenizer
        # A template may end turns with another token than the tokenizer's end token; models learn to write it.
        self.end = turn_end(tokenizer) if tokenizer.chat_template else tokenizer.eos_token

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of a chat up to where the assistant's answer begins, as training encodes them."""
        turns = [Turn(cast(Role, message["role"]), message["content"].strip()) for message in messages]
        return prompt_ids(self.tokenizer, turns)

    def text_prompt(self, text: str) -> list[int]:
        """The tokens of a text that is no chat, as the harness encodes it."""
        return self.lm.tok_encode(text)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        top_p: float = 1.0,
        stop: tuple[str, ...] = (),
    ) -> list[str]:
        """Continue each prompt to its end token or a stop string, neither in the answer, or `max_new_tokens`.

        Args:
            temperature: 0 is greedy.
            seed: of the sampling; a prompt given twice gets two draws.

        Raises:
            UserError: when the model has no room for a prompt beside that many new tokens.
        """
        if max_new_tokens >= self.lm.max_length:
            raise UserError(
                f"max_new_tokens={max_new_tokens}: the model holds {self.lm.max_length}, prompt included"
            )
        options: dict[str, Any] = {
            "until": [*stop, self.end],
            "max_gen_toks": max_new_tokens,
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            options |= {"temperature": temperature, "top_p": top_p, "top_k": 0}  # 0: of all tokens
        requests = [
            Instance(request_type="generate_until", doc={}, arguments=(_spell(prompt), options), idx=index)
            for index, prompt in enumerate(prompts)
        ]
        torch.manual_seed(seed)
        # Only for what we ask: the harness's own tasks keep its decoding, and so its scores.
        self.lm.ours = True
        try:
            return self.lm.generate_until(requests)
        finally:
            self.lm.ours = False


def _spell(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def _read(spelled: str) -> list[int]:
    return [int(word) for word in spelled.split()]


def open_engine(checkpoint: Checkpoint, runtime: Runtime) -> Engine:
    """Load a checkpoint for evaluation."""
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    model = load_model(checkpoint, dtype="auto").eval()
    place(model, runtime)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # any token: padding is masked
    batch = runtime.eval_batch_size
    return Engine(Model(model, tokenizer=tokenizer, batch_size=batch, device=runtime.device), tokenizer)
