"""The training loss: one weighted cross-entropy that is IT, IM and everything between.

Shapes: b rows, t tokens, n tokens that carry loss, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from im_bench.config import UserError
from im_bench.data.batching import MicroBatch
from im_bench.training.noise import noisy

CHUNK = 512
"""Tokens whose logits are held at a time."""


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised besides the negative log-likelihood, and under which noise."""

    neftune_alpha: float = 0.0
    kl_weight: float = 0.0
    kl: Literal["full", "target"] = "full"
    base: PreTrainedModel | None = None
    """The frozen model that the KL term is to; none without that term."""


class Supervised(NamedTuple):
    """The tokens of a micro-batch that carry loss, with the last hidden states that predict them."""

    hidden_nd: Tensor
    base_hidden_nd: Tensor | None
    targets_n: Tensor
    weights_n: Tensor

    def chunks(self) -> Iterator[Supervised]:
        """`CHUNK` tokens at a time."""
        for start in range(0, len(self.weights_n), CHUNK):
            cut = slice(start, start + CHUNK)
            base_hidden_nd = None if self.base_hidden_nd is None else self.base_hidden_nd[cut]
            yield Supervised(self.hidden_nd[cut], base_hidden_nd, self.targets_n[cut], self.weights_n[cut])


def weighted_loss(model: PreTrainedModel, batch: MicroBatch, objective: Objective) -> Tensor:
    """Sum over tokens of weight * (negative log-likelihood + kl_weight * KL); the caller divides it.

    Only positions that predict a weighted token pass through the vocabulary's projection, `CHUNK` at a time.
    """
    with noisy(model.get_input_embeddings(), batch.segments, objective.neftune_alpha):
        supervised = _supervised(model, batch, objective.base)
    *others, last = supervised.chunks()
    total = torch.zeros((), device=supervised.weights_n.device)
    for chunk in others:
        total = total + checkpoint(_chunk_loss, model, chunk, objective, use_reentrant=False)
    # The backward pass begins with the last, so that its logits may as well stay.
    return total + _chunk_loss(model, last, objective)


@contextmanager
def as_forward(model: PreTrainedModel, objective: Objective) -> Iterator[None]:
    """Within it, calling the model on a micro-batch gives the loss.

    What wraps a model for several processes (DDP, FSDP2) acts where the model is called, so that is where the
    loss must be computed.

    Raises:
        UserError: when the model's logits are not its projection of its last hidden state.
    """
    _check_projection(model)
    model.forward = lambda batch: weighted_loss(model, batch, objective)
    try:
        yield
    finally:
        del model.forward


def _supervised(model: PreTrainedModel, batch: MicroBatch, base: PreTrainedModel | None) -> Supervised:
    rows_n, before_n = batch.weights_bt[:, 1:].nonzero(as_tuple=True)
    targets_n, weights_n = batch.ids_bt[rows_n, before_n + 1], batch.weights_bt[rows_n, before_n + 1]
    if len(rows_n) == 0:
        # One token of weight 0: the loss is 0 but joined to every parameter, for which other processes wait.
        rows_n = before_n = torch.zeros(1, dtype=torch.long, device=batch.ids_bt.device)
        targets_n, weights_n = batch.ids_bt[:1, 0], batch.weights_bt[:1, 0]
    base_hidden_nd = None
    if base is not None:
        with torch.no_grad():
            base_hidden_nd = _last_hidden(base, batch)[rows_n, before_n]
    return Supervised(_last_hidden(model, batch)[rows_n, before_n], base_hidden_nd, targets_n, weights_n)


def _last_hidden(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    return model.get_decoder()(
        input_ids=batch.ids_bt,
        position_ids=batch.positions_bt,
        attention_mask=batch.mask_bt,
        use_cache=False,
    ).last_hidden_state


def _chunk_loss(model: PreTrainedModel, chunk: Supervised, objective: Objective) -> Tensor:
    logits_nv = _logits(model, chunk.hidden_nd)
    if chunk.base_hidden_nd is None:
        return (chunk.weights_n * cross_entropy(logits_nv, chunk.targets_n, reduction="none")).sum()
    assert objective.base is not None
    with torch.no_grad():
        base_logp_nv = log_softmax(_logits(objective.base, chunk.base_hidden_nd), dim=-1)
    logp_nv = log_softmax(logits_nv, dim=-1)
    logp_n = _of(logp_nv, chunk.targets_n)
    if objective.kl == "full":
        # KL(model || base) of the whole next-token distribution (Eq. 5 of the paper).
        kl_n = (logp_nv.exp() * (logp_nv - base_logp_nv)).sum(dim=-1)
    else:
        kl_n = logp_n - _of(base_logp_nv, chunk.targets_n)
    return (chunk.weights_n * (objective.kl_weight * kl_n - logp_n)).sum()


def _of(logp_nv: Tensor, targets_n: Tensor) -> Tensor:
    return logp_nv.gather(-1, targets_n[:, None]).squeeze(-1)


def _logits(model: PreTrainedModel, hidden_nd: Tensor) -> Tensor:
    logits_nv = model.get_output_embeddings()(hidden_nd).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # Gemma's
    return cap * torch.tanh(logits_nv / cap) if cap else logits_nv


def _check_projection(model: PreTrainedModel) -> None:
    model.eval()  # the Trainer sets it to train
    ids_bt = torch.arange(4, device=model.device)[None]
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=ids_bt, use_cache=False).last_hidden_state
        same = torch.allclose(
            _logits(model, hidden), model(input_ids=ids_bt).logits.float(), rtol=1e-2, atol=1e-3
        )
    if not same:
        raise UserError(
            f"model: the logits of {type(model).__name__} are more than a projection of its last hidden state, "
            "for which the loss is not written"
        )


def check_packing(model: PreTrainedModel) -> None:
    """Refuse to pack where a model's attention would reach from one example into the next.

    Raises:
        UserError: naming the model and the remedy.
    """
    model.eval()
    ids_bt = torch.tensor([[1, 2, 3, 4, 5, 6]], device=model.device)
    positions_bt = torch.tensor([[0, 1, 2, 0, 1, 2]], device=model.device)
    with torch.no_grad():
        packed = model.get_decoder()(input_ids=ids_bt, position_ids=positions_bt, use_cache=False)
        alone = model.get_decoder()(input_ids=ids_bt[:, 3:], use_cache=False)
    if not torch.allclose(
        packed.last_hidden_state[:, 3:].float(), alone.last_hidden_state.float(), rtol=1e-2, atol=1e-3
    ):
        raise UserError(
            f"runtime.layout=packed: {type(model).__name__} mixes the examples of a row; use runtime.layout=buckets"
        )
