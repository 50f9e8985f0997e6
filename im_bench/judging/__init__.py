"""Judges: who grades and compares answers."""

from __future__ import annotations

from im_bench import config
from im_bench.judging.judge import Judge


def open_judge(spec: config.Judge) -> Judge:
    """The judge that `spec` describes; each kind loads only what it needs."""
    match spec.kind:
        case "overlap":
            from im_bench.judging.overlap import Overlap

            return Overlap(spec.name)
        case "openai":
            from im_bench.judging.api import API

            return API(spec)
