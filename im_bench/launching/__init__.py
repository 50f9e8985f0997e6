"""Where the work of a sweep is done: this machine, a Ray cluster, a SLURM cluster. None of it reaches a key."""

from __future__ import annotations

from collections.abc import Sequence

from im_bench import config as c
from im_bench.launching import local
from im_bench.launching.chains import CellPlan, Chain, chains_of
from im_bench.store import Store
from im_bench.work import Failure, Follower

__all__ = ["CellPlan", "Chain", "chains_of", "launch"]


def launch(chains: Sequence[Chain], launcher: c.Launcher, store: Store, follower: Follower) -> list[Failure]:
    """Do what is to do; what failed.

    Raises:
        UserError: when the launcher is not installed or cannot be asked.
    """
    match launcher:
        case c.Local():
            return local.launch(chains, launcher, store, follower)
        case c.Ray():
            from im_bench.launching.ray import launch as on_ray

            return on_ray(chains, launcher, store, follower)
        case c.Slurm():
            from im_bench.launching.slurm import launch as on_slurm

            return on_slurm(chains, launcher, store, follower)
