"""Judges: who grades and compares answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

from im_bench import config
from im_bench.counting import Follow, nobody
from im_bench.judging.judge import Judge, Stop


def open_judge(
    spec: config.Judge,
    results: Path,
    *,
    tokens: Callable[[str], int] | None = None,
    follow: Follow = nobody,
    stop: Stop | None = None,
) -> Judge:
    """The judge that `spec` describes; each kind loads only what it needs.

    Args:
        results: the folder where the verdicts of a served judge are kept.
        tokens: counts those of a text, for the estimate of a served judge's cost.
        stop: when it is set, a served judge is asked nothing more.

    Raises:
        UserError: a key that is not set, a file of verdicts that cannot be read.
    """
    match spec:
        case config.Overlap():
            from im_bench.judging.overlap import OverlapJudge

            return OverlapJudge(spec.label)
        case config.Replay():
            from im_bench.judging.replay import ReplayJudge

            return ReplayJudge(spec)
        case config.Served():
            from im_bench.judging.served import ServedJudge

            return ServedJudge(spec, results, tokens=tokens, follow=follow, stop=stop or Event())
