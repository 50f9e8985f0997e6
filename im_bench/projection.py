"""A model in two halves: its last hidden states, and their projection to logits, so that few logits are held at once.

Shapes: b rows, t tokens, n chosen tokens, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from im_bench.config import UserError

CHUNK = 512
"""Tokens whose logits are held at a time."""


def last_hidden(
    model: PreTrainedModel, ids_bt: Tensor, positions_bt: Tensor, mask_bt: Tensor | None
) -> Tensor:
    """The last hidden states, bt x d.

    Args:
        positions_bt: from 0 in every example.
        mask_bt: 1 where a token is no padding; None where nothing is padded.
    """
    return model.get_decoder()(
        input_ids=ids_bt, position_ids=positions_bt, attention_mask=mask_bt, use_cache=False
    ).last_hidden_state


def logits(model: PreTrainedModel, projected_nv: Tensor) -> Tensor:
    """What the model makes of its projection, in fp32."""
    logits_nv = projected_nv.float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # Gemma's
    return cap * torch.tanh(logits_nv / cap) if cap else logits_nv


def of_targets(logp_nv: Tensor, targets_n: Tensor) -> Tensor:
    """The log-probability of each target."""
    return logp_nv.gather(-1, targets_n[:, None]).squeeze(-1)


def divergence(logp_nv: Tensor, base_logp_nv: Tensor) -> Tensor:
    """KL(model || base) of each whole next-token distribution, in nats (Eq. 5 of the paper)."""
    return (logp_nv.exp() * (logp_nv - base_logp_nv)).sum(dim=-1)


def check_projection(model: PreTrainedModel) -> None:
    """Make sure that a model is these two halves.

    Raises:
        UserError: when its logits are not its projection of its last hidden state.
    """
    ids_bt = torch.arange(4, device=model.device)[None]
    with looked_at(model):
        hidden = model.get_decoder()(input_ids=ids_bt, use_cache=False).last_hidden_state
        found = logits(model, model.get_output_embeddings()(hidden))
        same = torch.allclose(found, model(input_ids=ids_bt).logits.float(), rtol=1e-2, atol=1e-3)
    if not same:
        raise UserError(
            f"model: the logits of {type(model).__name__} are more than a projection of its last hidden state, "
            "for which the loss is not written"
        )


@contextmanager
def looked_at(model: PreTrainedModel) -> Iterator[None]:
    """Without gradients, and with the attention that every device and precision has."""
    kernel = model.config._attn_implementation
    model.eval()  # the Trainer sets it to train
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            yield
    finally:
        model.set_attn_implementation(kernel)
