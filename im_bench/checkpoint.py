"""Checkpoints: weights with the tokenizer, chat template and generation config that go with them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from im_bench.config import Runtime, UserError
from im_bench.data.templates import turn_end, with_template

disable_progress_bar()
set_verbosity_error()

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Checkpoint(NamedTuple):
    """Where the parts of a model are. An untrained model has a tokenizer of ours, with the template."""

    weights: str
    """A folder, or a hub id."""
    revision: str | None
    tokenizer: Path


def load_tokenizer(place: str | Path, revision: str | None = None) -> PreTrainedTokenizerFast:
    """A fast tokenizer: parts of tokens need its character offsets."""
    tokenizer = _loaded(AutoTokenizer, place, revision)
    if not tokenizer.is_fast:
        raise UserError(f"{place}: this tokenizer has no fast version, and character offsets need one")
    if tokenizer.eos_token is None:
        raise UserError(f"{place}: this tokenizer has no end token, so a model could not learn to stop")
    return tokenizer


def templated_tokenizer(
    place: str | Path, revision: str | None, chat_template: str
) -> PreTrainedTokenizerFast:
    """An untrained model's tokenizer, with the chat template of that name."""
    return with_template(load_tokenizer(place, revision), chat_template, str(place))


def load_model(checkpoint: Checkpoint, *, dtype: torch.dtype | str) -> PreTrainedModel:
    """The model on the CPU, in `dtype` (`auto`: as it was saved), with a row for every token of its tokenizer."""
    model = _loaded(AutoModelForCausalLM, checkpoint.weights, checkpoint.revision, dtype=dtype)
    _make_room(model, added_tokens(checkpoint))
    return model


def context_length(checkpoint: Checkpoint) -> int | None:
    """How many tokens a model holds, if its config is at hand and says so."""
    try:
        config = _loaded(AutoConfig, checkpoint.weights, checkpoint.revision)
    except UserError:
        return None
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def added_tokens(checkpoint: Checkpoint) -> list[int]:
    """The ids of the control tokens that a template added to a model's own tokenizer."""
    if Path(checkpoint.weights) == checkpoint.tokenizer:
        return []
    own = load_tokenizer(checkpoint.weights, checkpoint.revision).get_vocab()
    return sorted(
        id for token, id in load_tokenizer(checkpoint.tokenizer).get_vocab().items() if token not in own
    )


def _make_room(model: PreTrainedModel, added: Sequence[int]) -> None:
    """Give tokens that a template added the mean of the embeddings that are there."""
    if not added:
        return
    if added[-1] >= len(_rows(model.get_input_embeddings())):
        model.resize_token_embeddings(added[-1] + 1, mean_resizing=False)
    with torch.no_grad():
        for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
            rows_vd = _rows(embedding)
            rows_vd[added] = rows_vd[: added[0]].float().mean(dim=0).to(rows_vd.dtype)


def _rows(embedding: nn.Module) -> Tensor:
    return embedding.get_parameter("weight")


def place(model: PreTrainedModel, runtime: Runtime) -> None:
    """Move a model to the runtime's device and set the process up for it."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda":
        model.to(torch.device("cuda"))  # type: ignore[arg-type]  # its wrapper hides the signature
    elif sys.platform == "linux":
        # glibc gives each large buffer back to the system and asks again: half of a small model's time.
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def _loaded(auto: Any, place: str | Path, revision: str | None, **options: Any) -> Any:
    try:
        return auto.from_pretrained(str(place), revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:
        said = f"{place}: could not be loaded ({str(error).strip().splitlines()[0]})"
        if not Path(place).exists():
            said += ". Without network, a local folder can serve: model=local model.path=FOLDER"
        raise UserError(said) from error


def save(out: Path, model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a checkpoint; without a model, the tokenizer and generation config alone."""
    tokenizer.save_pretrained(out)
    generation = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=_ends(tokenizer),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    if model is not None:
        model.generation_config = generation
        model.save_pretrained(out)
    generation.save_pretrained(out)


def _ends(tokenizer: PreTrainedTokenizerFast) -> int | list[int]:
    """The end token, and beside it the one with which the template ends turns."""
    end = tokenizer.eos_token_id
    if tokenizer.chat_template is None:
        return end
    turn = tokenizer.encode(turn_end(tokenizer), add_special_tokens=False)[-1]
    return end if turn == end else [end, turn]
