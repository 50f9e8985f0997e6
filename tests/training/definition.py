"""The loss as the method states it, slow and plain, for tests to compare with."""

import torch
from torch.nn.functional import log_softmax


def by_definition(model, examples, average):
    """One example at a time and position by position, with no mask, no padding and no scaling of ours."""
    each = []
    for example in examples:
        logp = log_softmax(model(input_ids=torch.tensor([example.ids_t.tolist()])).logits[0].float(), dim=-1)
        nll = [-logp[place - 1, int(example.ids_t[place])] for place in range(1, len(example.ids_t))]
        each.append(
            sum(weight * loss for weight, loss in zip(example.weights_t[1:].tolist(), nll, strict=True))
        )
    weights = [example.weights_t.tolist() for example in examples]
    match average:
        case "example":
            means = [loss / sum(weight) for loss, weight in zip(each, weights, strict=True)]
            return sum(means) / len(means)
        case "token":
            return sum(each) / sum(map(sum, weights))
        case "nonzero":
            return sum(each) / sum(weight > 0 for row in weights for weight in row)
        case "output":
            return sum(each) / sum(weight == 1 for row in weights for weight in row)
