"""The training loss: one weighted cross-entropy that is IT, IM and everything between.

Shapes: b rows, t tokens, n tokens that carry loss, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, log_softmax
from transformers import PreTrainedModel

from im_bench.config import UserError
from im_bench.data.batching import MicroBatch
from im_bench.projection import (
    CHUNK,
    check_projection,
    divergence,
    last_hidden,
    logits,
    looked_at,
    of_targets,
)
from im_bench.training.noise import noisy


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised besides the negative log-likelihood, and under which noise."""

    neftune_alpha: float = 0.0
    kl_weight: float = 0.0
    kl: Literal["full", "target"] = "full"
    base: PreTrainedModel | None = None
    """The frozen model that the KL term is to; none without that term."""


# No NamedTuple: FSDP2 would find the tensors in it, and cast them to the precision of the model's inputs.
@dataclass(frozen=True, eq=False)
class Supervised:
    """The tokens of a micro-batch that carry loss, with the base model's last hidden states that predict them."""

    base_hidden_nd: Tensor | None
    targets_n: Tensor
    weights_n: Tensor

    def __getitem__(self, cut: slice) -> Supervised:
        base_hidden_nd = None if self.base_hidden_nd is None else self.base_hidden_nd[cut]
        return Supervised(base_hidden_nd, self.targets_n[cut], self.weights_n[cut])


def weighted_loss(model: PreTrainedModel, batch: MicroBatch, objective: Objective) -> Tensor:
    """Sum over tokens of weight * (negative log-likelihood + kl_weight * KL); the caller divides it.

    Only positions that predict a weighted token pass through the vocabulary's projection, `CHUNK` at a time.
    """
    with noisy(model.get_input_embeddings(), batch.segments, objective.neftune_alpha):
        hidden_nd, supervised = _supervised(model, batch, objective.base)
    head = model.get_output_embeddings()
    project = head.forward

    def chunk_loss(hidden_nd: Tensor, cut: slice) -> Tensor:
        return _loss(logits(model, project(hidden_nd)), supervised[cut], objective)

    def loss(hidden_nd: Tensor) -> Tensor:
        # Where FSDP2 shards the projection, its parameters are whole from here on only.
        parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
        return _Chunked.apply(chunk_loss, hidden_nd, *parameters)

    # Called once: to FSDP2 every call is an exchange, in which all processes take part.
    head.forward = loss
    try:
        return head(hidden_nd)
    finally:
        del head.forward


class _Chunked(torch.autograd.Function):
    """A loss summed over chunks, whose gradient is taken with it, so that no chunk's logits outlive the chunk."""

    @staticmethod
    def forward(
        ctx: Any, chunk_loss: Callable[[Tensor, slice], Tensor], hidden_nd: Tensor, *parameters: Tensor
    ) -> Tensor:
        total = torch.zeros((), device=hidden_nd.device)
        to_hidden_nd = torch.empty_like(hidden_nd)
        to_parameters: list[Tensor] = []
        for start in range(0, len(hidden_nd), CHUNK):
            cut = slice(start, start + CHUNK)
            with torch.enable_grad():
                leaf_nd = hidden_nd[cut].detach().requires_grad_()
                loss = chunk_loss(leaf_nd, cut)
            to_hidden_nd[cut], *found = torch.autograd.grad(loss, [leaf_nd, *parameters])
            if start == 0:
                to_parameters = [each.float() for each in found]
            else:
                for gradient, each in zip(to_parameters, found, strict=True):
                    gradient += each
            total += loss.detach()
        ctx.gradients = [to_hidden_nd, *to_parameters]
        ctx.dtypes = [hidden_nd.dtype, *(parameter.dtype for parameter in parameters)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Handed over, so that the parameters' gradients are these tensors and no copies.
        scaled = [ctx.gradients.pop(0).mul_(gradient).to(dtype) for dtype in ctx.dtypes]
        return None, *scaled


@contextmanager
def as_forward(model: PreTrainedModel, objective: Objective) -> Iterator[None]:
    """Within it, calling the model on a micro-batch gives the loss.

    What wraps a model for several processes (DDP, FSDP2) acts where the model is called, so that is where the
    loss must be computed.

    Raises:
        UserError: when the model's logits are not its projection of its last hidden state.
    """
    check_projection(model)
    model.forward = lambda batch: weighted_loss(model, batch, objective)
    try:
        yield
    finally:
        del model.forward


def _supervised(
    model: PreTrainedModel, batch: MicroBatch, base: PreTrainedModel | None
) -> tuple[Tensor, Supervised]:
    """The tokens that carry loss, after the last hidden states that predict them."""
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
    hidden_nd = _last_hidden(model, batch)[rows_n, before_n]
    return hidden_nd, Supervised(base_hidden_nd, targets_n, weights_n)


def _last_hidden(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    return last_hidden(model, batch.ids_bt, batch.positions_bt, batch.mask_bt)


def _loss(logits_nv: Tensor, chunk: Supervised, objective: Objective) -> Tensor:
    if chunk.base_hidden_nd is None:
        return (chunk.weights_n * cross_entropy(logits_nv, chunk.targets_n, reduction="none")).sum()
    assert objective.base is not None
    with torch.no_grad():
        base_logits_nv = logits(objective.base, objective.base.get_output_embeddings()(chunk.base_hidden_nd))
        base_logp_nv = log_softmax(base_logits_nv, dim=-1)
    logp_nv = log_softmax(logits_nv, dim=-1)
    logp_n = of_targets(logp_nv, chunk.targets_n)
    if objective.kl == "full":
        kl_n = divergence(logp_nv, base_logp_nv)
    else:
        kl_n = logp_n - of_targets(base_logp_nv, chunk.targets_n)
    return (chunk.weights_n * (objective.kl_weight * kl_n - logp_n)).sum()


def check_packing(model: PreTrainedModel) -> None:
    """Refuse to pack where a model's attention would reach from one example into the next.

    The model is looked at with plain attention, whatever kernel it trains with: one that hands its positions on to
    the one does so to the other.

    Raises:
        UserError: naming the model and the remedy.
    """
    ids_bt = torch.tensor([[1, 2, 3, 4, 5, 6]], device=model.device)
    positions_bt = torch.tensor([[0, 1, 2, 0, 1, 2]], device=model.device)
    with looked_at(model):
        packed = model.get_decoder()(input_ids=ids_bt, position_ids=positions_bt, use_cache=False)
        alone = model.get_decoder()(input_ids=ids_bt[:, 3:], use_cache=False)
    if not torch.allclose(
        packed.last_hidden_state[:, 3:].float(), alone.last_hidden_state.float(), rtol=1e-2, atol=1e-3
    ):
        raise UserError(
            f"runtime.layout=packed: {type(model).__name__} mixes the examples of a row; use runtime.layout=buckets"
        )
