"""vLLM as the engine: in process, for GPUs. The package is an extra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.models.vllm_causallms import VLLM

from im_bench import config
from im_bench.checkpoint import Checkpoint
from im_bench.evaluation.engines.asking import Asking, Draw, Sampling

CHUNK = 1024
"""Prompts handed over at once: vLLM schedules them itself; after each so many they are kept."""


class Model(Asking, VLLM):
    """lm-eval's model of vLLM."""

    chunk = CHUNK

    def __init__(self, checkpoint: Checkpoint, spec: config.Fast) -> None:
        super().__init__(
            pretrained=checkpoint.weights,
            revision=checkpoint.revision,
            tokenizer=str(checkpoint.tokenizer),
            tensor_parallel_size=spec.gpus,
            gpu_memory_utilization=spec.memory,
            max_model_len=spec.max_length,
            batch_size=CHUNK,
        )
        self.room = self.max_length - 1  # vLLM always writes one token

    def write(self, draws: Sequence[Draw], how: Sampling, done: Callable[[int], None]) -> list[str]:
        from vllm import SamplingParams  # type: ignore[import-not-found]  # an extra

        texts: list[str] = []
        for start in range(0, len(draws), CHUNK):
            chunk = draws[start : start + CHUNK]
            sampling: list[Any] = [
                SamplingParams(
                    max_tokens=how.max_new_tokens,
                    temperature=how.temperature,
                    top_p=how.top_p,
                    stop=list(how.stop),
                    seed=draw.seed,
                )
                for draw in chunk
            ]
            outputs = self._model_generate(
                [draw.prompt for draw in chunk], generate=True, sampling_params=sampling
            )
            texts += [output.outputs[0].text for output in outputs]
            done(len(chunk))
        return texts
