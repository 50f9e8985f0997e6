"""The forms in which AlpacaEval's parsers read a verdict on two answers, for judges that write none of their own."""

from __future__ import annotations

import math

from im_bench.judging.judge import Comparison, Reply, Request


def preferring(request: Request, share: float) -> Reply:
    """The verdict that the first answer shown is better with probability `share`, from 0 to 1.

    Where log-probabilities are wanted, each label has its share, and one without any is left out; else the likelier
    answer ranks first, and of two equal ones the one listed first.
    """
    subject = request.subject
    assert isinstance(subject, Comparison)
    if request.top_logprobs:
        chances = zip(subject.labels, (share, 1 - share), strict=True)
        first_token = {label: math.log(chance) for label, chance in chances if chance > 0}
        return Reply(max(first_token, key=first_token.__getitem__), first_token)
    ranks = (1, 2) if share >= 0.5 else (2, 1)
    return Reply(
        str([{"model": label, "rank": rank} for label, rank in zip(subject.labels, ranks, strict=True)])
    )
