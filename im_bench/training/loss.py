"""The training loss: one weighted cross-entropy that is IT, IM and everything between.

Shapes: b examples, t tokens, p predicting positions, v vocabulary.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from im_bench.data.batching import MicroBatch


def weighted_nll(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """Summed negative log-likelihood of each token times its weight; the caller divides by the denominator.

    Only positions that predict a weighted token pass through the vocabulary's projection.
    """
    positions_p = batch.weights_bt[:, 1:].any(dim=0).nonzero().squeeze(-1)
    if len(positions_p) == 0:
        # Zero, but joined to the graph, so that a batch with nothing supervised adds nothing.
        return (
            model(input_ids=batch.ids_bt, attention_mask=batch.mask_bt, logits_to_keep=1).logits.sum() * 0.0
        )
    logits_bpv = model(
        input_ids=batch.ids_bt, attention_mask=batch.mask_bt, logits_to_keep=positions_p, use_cache=False
    ).logits
    targets_bp, weights_bp = batch.ids_bt[:, positions_p + 1], batch.weights_bt[:, positions_p + 1]
    supervised_bp = weights_bp > 0
    nll = cross_entropy(logits_bpv[supervised_bp].float(), targets_bp[supervised_bp], reduction="none")
    return (nll * weights_bp[supervised_bp]).sum()
