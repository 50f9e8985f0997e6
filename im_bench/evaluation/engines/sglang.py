"""SGLang as the engine: in process, for GPUs. The package is an extra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.models.sglang_causallms import SGLangLM

from im_bench import config
from im_bench.checkpoint import Checkpoint, load_tokenizer
from im_bench.evaluation.engines.asking import Asking, Draw, Sampling, begun_once

CHUNK = 1024
"""Prompts handed over at once: SGLang schedules them itself; after each so many they are kept."""


class Model(Asking, SGLangLM):
    """lm-eval's model of SGLang."""

    chunk = CHUNK

    def __init__(self, checkpoint: Checkpoint, spec: config.Fast) -> None:
        tokenizer = load_tokenizer(checkpoint.tokenizer)
        super().__init__(
            pretrained=checkpoint.weights,
            tokenizer_path=str(checkpoint.tokenizer),
            tp_size=spec.gpus,
            mem_fraction_static=spec.memory,
            context_length=spec.max_length,
            batch_size=CHUNK,
            trust_remote_code=False,
            # It begins no text with the tokenizer's start token unless told; the other engines ask the tokenizer.
            add_bos_token=tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id],
            enable_deterministic_inference=True,  # without it seeds are not obeyed
            **({"revision": checkpoint.revision} if checkpoint.revision else {}),
        )
        self.room = self.max_length

    def tok_encode(self, string: str | Sequence[str], *arguments: Any, **options: Any) -> list[Any]:
        return begun_once(self.tokenizer, string, super().tok_encode(string, *arguments, **options))

    def write(self, draws: Sequence[Draw], how: Sampling, done: Callable[[int], None]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(draws), CHUNK):
            chunk = draws[start : start + CHUNK]
            sampling = [
                {
                    "max_new_tokens": how.max_new_tokens,
                    "temperature": how.temperature,
                    "top_p": how.top_p,
                    "stop": list(how.stop),
                    "sampling_seed": draw.seed,
                }
                for draw in chunk
            ]
            outputs = self._model_generate(
                [draw.prompt for draw in chunk], generate=True, sampling_params=sampling
            )
            texts += [output["text"] for output in outputs]
            done(len(chunk))
        return texts
