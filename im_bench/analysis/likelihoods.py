"""How likely a model finds conversations: sums over the tokens of each, outputs and instructions apart.

Output tokens are those of outputs and ends of turn, of every assistant turn; instruction tokens those of instructions
and system turns. The template's are neither. Shapes: b conversations, t tokens, n tokens that count, d width,
v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from im_bench.counting import Follow, Tally, nobody
from im_bench.data.encoding import Encoded
from im_bench.data.templates import Part
from im_bench.projection import CHUNK, check_projection, divergence, last_hidden, logits, of_targets


class Sums(NamedTuple):
    """Of one conversation; negative log-likelihoods in nats, and over how many tokens."""

    output_nll: float
    output_tokens: int
    instruction_nll: float
    instruction_tokens: int
    output_kl: float | None
    """KL(model || base) over output tokens; None without a base model."""


class Targets(NamedTuple):
    """The tokens of a batch that count, with the last hidden states that predict them."""

    row_n: Tensor
    ids_n: Tensor
    is_output_n: Tensor
    hidden_nd: Tensor
    base_hidden_nd: Tensor | None


def likelihoods(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    encoded: Sequence[Encoded],
    *,
    max_tokens: int,
    follow: Follow = nobody,
) -> list[Sums]:
    """The sums of each conversation, in their order.

    Args:
        base: what KL is to.
        max_tokens: most tokens of a forward pass, padding included; a longer conversation is alone in one.
        follow: told how many conversations are done, and of how many.

    Raises:
        UserError: when the logits of a model are not its projection of its last hidden state.
    """
    for each in (model, base):
        if each is not None:
            check_projection(each)
    tally = Tally(len(encoded), follow)
    found: dict[int, Sums] = {}
    for places in _batches([len(each.ids_t) for each in encoded], max_tokens):
        found |= zip(places, _sums(model, base, [encoded[place] for place in places]), strict=True)
        tally.more(len(places))
    return [found[place] for place in range(len(encoded))]


def _batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Places of conversations of like length, the longest first: what does not fit in memory shows at once."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


@torch.inference_mode()
def _sums(model: PreTrainedModel, base: PreTrainedModel | None, batch: Sequence[Encoded]) -> list[Sums]:
    targets = _targets(model, base, batch)
    chunks = [slice(start, start + CHUNK) for start in range(0, len(targets.row_n), CHUNK)]
    # Summed in double precision and in order on any device, so that equal inputs give equal bytes.
    nll_n, kl_n = (
        np.concatenate([np.zeros(0), *each])
        for each in zip(*(_chunk(model, base, targets, cut) for cut in chunks), strict=True)
    )
    row_n, is_output_n = targets.row_n.cpu().numpy(), targets.is_output_n.cpu().numpy()

    def per_row(values_n: NDArray[np.float64], chosen_n: NDArray[np.bool_]) -> list[float]:
        return np.bincount(row_n[chosen_n], weights=values_n[chosen_n], minlength=len(batch)).tolist()

    ones_n = np.ones(len(row_n))
    columns = zip(
        per_row(nll_n, is_output_n),
        per_row(ones_n, is_output_n),
        per_row(nll_n, ~is_output_n),
        per_row(ones_n, ~is_output_n),
        per_row(kl_n, is_output_n),
        strict=True,
    )
    return [
        Sums(output, int(outputs), instruction, int(instructions), None if base is None else kl)
        for output, outputs, instruction, instructions, kl in columns
    ]


def _targets(model: PreTrainedModel, base: PreTrainedModel | None, batch: Sequence[Encoded]) -> Targets:
    shape = (len(batch), max(len(each.ids_t) for each in batch))
    ids, parts, mask = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    for row, each in enumerate(batch):
        length = len(each.ids_t)
        # Which token pads does not matter: it is masked, comes last and, as the template, does not count.
        ids[row, :length], parts[row, :length], mask[row, :length] = each.ids_t, each.parts_t, 1
    device = model.device
    ids_bt, parts_bt = torch.from_numpy(ids).to(device), torch.from_numpy(parts).to(device)
    mask_bt = None if mask.all() else torch.from_numpy(mask).to(device)
    positions_bt = torch.arange(shape[1], device=device).expand(shape)
    row_n, before_n = (parts_bt[:, 1:] != Part.TEMPLATE).nonzero(as_tuple=True)
    hidden = [
        None if each is None else last_hidden(each, ids_bt, positions_bt, mask_bt)[row_n, before_n]
        for each in (model, base)
    ]
    assert hidden[0] is not None
    is_output_n = parts_bt[row_n, before_n + 1] >= Part.OUTPUT
    return Targets(row_n, ids_bt[row_n, before_n + 1], is_output_n, hidden[0], hidden[1])


def _chunk(
    model: PreTrainedModel, base: PreTrainedModel | None, targets: Targets, cut: slice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Negative log-likelihood and KL of each target; the KL of instruction tokens is not computed, and 0."""
    logp_nv = log_softmax(logits(model, model.get_output_embeddings()(targets.hidden_nd[cut])), dim=-1)
    nll_n = -of_targets(logp_nv, targets.ids_n[cut])
    kl_n = torch.zeros_like(nll_n)
    if base is not None:
        assert targets.base_hidden_nd is not None
        chosen_n = targets.is_output_n[cut]
        projected_nv = base.get_output_embeddings()(targets.base_hidden_nd[cut][chosen_n])
        kl_n[chosen_n] = divergence(logp_nv[chosen_n], log_softmax(logits(base, projected_nv), dim=-1))
    return nll_n.double().cpu().numpy(), kl_n.double().cpu().numpy()
