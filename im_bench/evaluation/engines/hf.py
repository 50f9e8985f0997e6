"""transformers as the engine: in process, on any machine."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from im_bench.config import UserError
from im_bench.evaluation.engines.asking import Asking, Draw, Sampling, cut, no_numbers

MOST_AT_ONCE = 64
SHARE = 0.7
"""Of a GPU's memory beside the weights that prompts may fill, by estimate."""
CPU_BYTES = 1 << 30
"""What prompts may fill on a CPU, where more at once is no faster."""

log = logging.getLogger(__name__)


class Model(Asking, HFLM):
    """lm-eval's model of transformers.

    Args:
        at_once: prompts in one forward pass; None fills the device's memory.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, at_once: int | None
    ) -> None:
        super().__init__(model, tokenizer=tokenizer, batch_size=1, device=str(model.device))
        self.room = self.max_length + 1  # the last token of a continuation is not read
        self._given = at_once
        self._shrunk = 1
        self._bytes = _bytes_per_token(model)
        self._memory = _memory(model)

    def begin(self, *arguments: Any) -> None:
        self._shrunk = 1  # what another benchmark had no room for says nothing of this one
        super().begin(*arguments)

    def expect(self, tokens: int) -> None:
        fitting = self._memory // (self._bytes * min(tokens, self.max_length))
        most = self._given or min(MOST_AT_ONCE, 1 << max(0, fitting.bit_length() - 1))
        self.batch_size_per_gpu = max(1, most // self._shrunk)

    def use_less_memory(self, error: RuntimeError) -> None:
        if not should_reduce_batch_size(error):
            raise error
        if self.batch_size_per_gpu == 1:
            raise UserError(
                "not even one prompt fits in the device's memory; take a smaller model, or more memory"
            ) from error
        log.warning("%d prompts at once do not fit in memory; going on with half", self.batch_size_per_gpu)
        self._shrunk *= 2
        self.batch_size_per_gpu //= 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _model_generate(self, *arguments: Any, **options: Any) -> Tensor:
        numbers = LogitsProcessorList([_Numbers()])
        return super()._model_generate(*arguments, **options, logits_processor=numbers)

    def write(self, draws: Sequence[Draw], how: Sampling, done: Callable[[int], None]) -> list[str]:
        texts: dict[int, str] = {}
        self._shrunk = 1
        self.expect(max((len(draw.prompt) for draw in draws), default=0) + how.max_new_tokens)
        # The longest first: what does not fit shows at once.
        order = sorted(range(len(draws)), key=lambda place: -len(draws[place].prompt))
        while len(texts) < len(draws):
            batch = order[len(texts) : len(texts) + self.batch_size_per_gpu]
            try:
                written = self._write([draws[place] for place in batch], how)
            except RuntimeError as error:
                self.use_less_memory(error)
                continue
            texts |= zip(batch, written, strict=True)
            done(len(batch))
        return [texts[place] for place in range(len(draws))]

    @torch.inference_mode()
    def _write(self, draws: Sequence[Draw], how: Sampling) -> list[str]:
        ids_bt = torch.full(
            (len(draws), max(len(draw.prompt) for draw in draws)), self.tokenizer.pad_token_id
        )
        mask_bt = torch.zeros_like(ids_bt)
        for row, draw in enumerate(draws):
            ids_bt[row, -len(draw.prompt) :] = torch.tensor(draw.prompt)
            mask_bt[row, -len(draw.prompt) :] = 1
        written_bt = self.model.generate(
            input_ids=ids_bt.to(self.device),
            attention_mask=mask_bt.to(self.device),
            max_new_tokens=how.max_new_tokens,
            do_sample=False,  # of what the noise makes the likeliest
            logits_processor=LogitsProcessorList([_Numbers(), *_noise(draws, how, self.device)]),
            stopping_criteria=StoppingCriteriaList([Stop(self.tokenizer, how.stop, ids_bt.shape[1])]),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return [cut(self._text(row), how.stop) for row in written_bt[:, ids_bt.shape[1] :].tolist()]

    def _text(self, ids: list[int]) -> str:
        """SentencePiece decoders drop a text's first space, so it is decoded behind another token."""
        anchor = self.tokenizer.encode("a", add_special_tokens=False)
        start = len(self.tokenizer.decode(anchor, skip_special_tokens=True))
        return self.tokenizer.decode(anchor + ids, skip_special_tokens=True)[start:]


class _Numbers(LogitsProcessor):
    """Refuses logits that are none."""

    def __call__(self, input_ids: Tensor, scores_bv: Tensor) -> Tensor:
        if scores_bv.isnan().any():
            raise no_numbers("logits")
        return scores_bv


class Noise(LogitsProcessor):
    """Sampling as the maximum of noisy logits (Gumbel-max), each row's noise from a generator of its own.

    So a draw depends on its own seed, and not on what is drawn beside it or how many at once.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: Tensor, scores_bv: Tensor) -> Tensor:
        rows = [
            torch.rand(scores_bv.shape[1], generator=each, device=scores_bv.device)
            for each in self._generators
        ]
        return scores_bv / self._temperature - torch.log(-torch.log(torch.stack(rows)))


def _noise(draws: Sequence[Draw], how: Sampling, device: torch.device) -> Iterator[LogitsProcessor]:
    if how.temperature > 0:
        if how.top_p < 1:
            yield _Nucleus(how.top_p, how.temperature)
        yield Noise([draw.seed for draw in draws], how.temperature, device)


class _Nucleus(LogitsProcessor):
    """The fewest tokens that hold `top_p` of the probability at a temperature; the logits of others are -inf."""

    def __init__(self, top_p: float, temperature: float) -> None:
        self._warp = TopPLogitsWarper(top_p)
        self._temperature = temperature

    def __call__(self, input_ids: Tensor, scores_bv: Tensor) -> Tensor:
        return self._warp(input_ids, scores_bv / self._temperature) * self._temperature


class Stop(StoppingCriteria):
    """A row is done when what it has written holds a stop string; the prompt is not looked at."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop: Sequence[str], start: int) -> None:
        self._tokenizer, self._stop, self._start = tokenizer, stop, start
        lengths = [len(tokenizer.encode(each, add_special_tokens=False)) for each in stop]
        self._look_back = max(lengths, default=0) + 2  # the same string may be written in other tokens

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        if not self._stop:
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        ends = self._tokenizer.batch_decode(input_ids[:, self._start :][:, -self._look_back :])
        done = [any(each in end for each in self._stop) for end in ends]
        return torch.tensor(done, device=input_ids.device)


def _bytes_per_token(model: PreTrainedModel) -> int:
    """About what one token of a forward pass holds: logits twice, keys and values, and a layer's activations."""
    config, size = model.config.get_text_config(), model.dtype.itemsize
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    logits = 2 * model.get_output_embeddings().weight.shape[0]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    keys = 2 * config.num_hidden_layers * heads * (hidden // config.num_attention_heads)
    return int(size * (logits + keys + 3 * inner + 8 * hidden))


def _memory(model: PreTrainedModel) -> int:
    """Bytes that prompts may fill; by the device's size and not by what is free, so that it is the same every time."""
    if model.device.type != "cuda":
        return CPU_BYTES
    total = torch.cuda.get_device_properties(model.device).total_memory
    return int(SHARE * (total - model.get_memory_footprint()))
