"""One loaded model that serves every benchmark of a cell: lm-eval's `LM` object, and what we ask of it."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerFast

from im_bench.checkpoint import Checkpoint, load_model, load_tokenizer, place
from im_bench.config import Runtime, UserError


class Engine:
    """A model behind lm-eval's interface, with the checkpoint's own tokenizer and chat template."""

    def __init__(self, lm: HFLM, tokenizer: PreTrainedTokenizerFast):
        self.lm = lm
        self.tokenizer = tokenizer

    def chat_prompt(self, messages: list[dict[str, str]]) -> str:
        """The text of a chat up to where the assistant's answer begins, by the checkpoint's template."""
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def generate(
        self,
        prompts: list[str],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        top_p: float = 1.0,
        stop: tuple[str, ...] = (),
    ) -> list[str]:
        """Continue each prompt until its end token, a stop string or `max_new_tokens`; neither is in the answer.

        Args:
            temperature: 0 is greedy.
            seed: of the sampling; a prompt given twice gets two draws.

        Raises:
            UserError: when the model has no room for a prompt beside that many new tokens.
        """
        if max_new_tokens >= self.lm.max_length:
            raise UserError(
                f"max_new_tokens={max_new_tokens}: the model holds {self.lm.max_length} tokens, prompt included"
            )
        options: dict[str, Any] = {
            "until": list(stop),
            "max_gen_toks": max_new_tokens,
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            options |= {"temperature": temperature, "top_p": top_p}
        requests = [
            Instance(request_type="generate_until", doc={}, arguments=(prompt, options), idx=index)
            for index, prompt in enumerate(prompts)
        ]
        torch.manual_seed(seed)
        return self.lm.generate_until(requests)


@lru_cache(maxsize=1)
def open_engine(checkpoint: Checkpoint, runtime: Runtime) -> Engine:
    """Load a checkpoint; the last one opened stays open, so that all benchmarks of a cell share it."""
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    model = load_model(checkpoint, dtype="auto").eval()
    place(model, runtime)
    if (
        tokenizer.pad_token_id is None
        or tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings
    ):
        tokenizer.pad_token = tokenizer.eos_token  # any token of the vocabulary: padding is masked
    lm = HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=runtime.eval_batch_size, device=runtime.device
    )
    # The harness's bars, one per request type, would fight ours for the terminal.
    lm.loglikelihood = partial(lm.loglikelihood, disable_tqdm=True)
    lm.generate_until = partial(lm.generate_until, disable_tqdm=True)
    return Engine(lm, tokenizer)
