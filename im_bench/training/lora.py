"""LoRA (arXiv 2106.09685): low-rank updates of every linear layer of the decoder, by peft."""

from __future__ import annotations

import warnings

from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from im_bench.config import Lora


def with_lora(model: PreTrainedModel, lora: Lora | None) -> PreTrainedModel:
    """The model whose low-rank updates train and whose own weights do not; without `lora` itself."""
    if lora is None:
        return model
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks transformers by a name that has a newer one.
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        return get_peft_model(model, config)  # type: ignore[return-value]  # it hands every call on to the model


def merged(model: PreTrainedModel, lora: Lora | None) -> PreTrainedModel:
    """The model with its updates added into its weights, loadable without peft."""
    return model if lora is None else model.merge_and_unload()  # type: ignore[operator]  # peft's
