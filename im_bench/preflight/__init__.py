"""Before anything runs: what is needed, and what is missing."""

from im_bench.preflight.checks import check
from im_bench.preflight.need import Need, Parts, explained, fetch, needs

__all__ = ["Need", "Parts", "check", "explained", "fetch", "needs"]
