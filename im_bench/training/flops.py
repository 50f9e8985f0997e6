"""Floating-point operations of training, so that losses can be compared at equal compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedModel


class Size(NamedTuple):
    """What of a model its cost depends on."""

    block_parameters: int
    """Of the decoder without its embeddings."""
    projection_parameters: int
    """Width times vocabulary."""
    layers: int
    attention_width: int
    """Heads times their width."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> Size:
        config = model.config.get_text_config()
        embedding, projection = model.get_input_embeddings(), model.get_output_embeddings()
        embedded = {id(parameter) for part in (embedding, projection) for parameter in part.parameters()}
        return cls(
            block_parameters=sum(
                parameter.numel() for parameter in model.parameters() if id(parameter) not in embedded
            ),
            projection_parameters=projection.weight.numel(),
            layers=config.num_hidden_layers,
            attention_width=config.num_attention_heads
            * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads),
        )


def forward_flops(size: Size, lengths: Sequence[int], projected: int) -> float:
    """Of one forward pass over examples of these lengths, `projected` of whose tokens get logits.

    Two for each parameter and token, and in each layer 2 * length^2 * width for causal attention: half of all
    pairs, scores and values (Kaplan et al., arXiv 2001.08361, section 2.1, for causal attention).
    """
    dense = 2.0 * size.block_parameters * sum(lengths)
    attention = 2.0 * size.layers * size.attention_width * sum(length**2 for length in lengths)
    return dense + attention + 2.0 * size.projection_parameters * projected


def training_flops(
    size: Size, lengths: Sequence[int], projected: int, *, frozen: bool = False, base: bool = False
) -> float:
    """Of a forward and a backward pass, without what is computed again to save memory.

    Args:
        frozen: the weights have no gradient of their own (LoRA), which halves the backward pass.
        base: a frozen base model is run beside it, for the KL term.
    """
    passes = (2 if frozen else 3) + int(base)
    return passes * forward_flops(size, lengths, projected)
