"""Whether this machine has room for what is to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from im_bench import config as c
from im_bench.pipeline import Cell
from im_bench.planning import foresee
from im_bench.planning.sizes import looking_memory, memory, parameters, scoring_memory
from im_bench.preflight.need import Parts

GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""What Linux has where it has a GPU of NVIDIA's, AMD's, or one that Windows lends it."""
LESS_MEMORY = {
    "training": "train=lora, or runtime.processes=N on N GPUs, need less",
    "scoring": "engine=vllm engine.gpus=N splits it, engine=server asks another machine",
    "losses": "'~analysis.losses' leaves it out",
}


def no_gpu(wanted: Sequence[tuple[c.Run, Parts]]) -> Iterator[str]:
    here = [run for run, parts in wanted if isinstance(run.launcher, c.Local) and parts.loads]
    if (
        any(run.runtime.device == "cuda" for run in here)
        and not any(map(Path.exists, GPUS))
        and GPUS[0].parent.exists()
    ):
        yield "GPU (for runtime.device=cuda): there is none here; runtime=cpu, or a launcher that has some"


def too_little_memory(wanted: Sequence[tuple[c.Run, Parts]]) -> Iterator[str]:
    """Of this machine; of a cluster's nobody knows here."""
    most: dict[tuple[str, str], tuple[float, str]] = {}
    for run, parts in wanted:
        size = parameters(run.model)
        if size is None or not isinstance(run.launcher, c.Local):
            continue
        side_by_side = run.launcher.jobs if run.runtime.device == "cpu" else 1
        trains = side_by_side * memory(run, size) if parts.trains else 0.0
        asks = side_by_side * scoring_memory(run, size) if parts.opens else 0.0
        measures = side_by_side * looking_memory(run, size) if "losses" in parts.measures else 0.0
        place = run.model.name, run.runtime.device
        most[place] = max(
            most.get(place, (0.0, "")), (trains, "training"), (asks, "scoring"), (measures, "losses")
        )
    for (model, device), (need, what) in most.items():
        room = gpu_memory() if device == "cuda" else ram()
        if room is not None and need > room:
            where = "a GPU" if device == "cuda" else "this machine"
            yield (
                f"memory (for {what} model={model}): about {need / 1e9:.0f} GB besides activations, and {where} has "
                f"{room / 1e9:.0f} GB; {LESS_MEMORY[what]}"
            )


def gpu_memory() -> float | None:
    """Bytes of the smallest GPU here; None where NVIDIA's tool does not say."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        return min(float(line) for line in said.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def ram() -> float | None:
    """Bytes of memory here; None where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def _size(size: float) -> str:
    return f"{size / 1e9:.0f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def too_little_room(cells: Sequence[Cell]) -> Iterator[str]:
    results = cells[0].run.paths.results.absolute()
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    free, peak = shutil.disk_usage(there).free, foresee(cells).disk.bytes
    if peak > free:
        frugal = {"keep_checkpoints": "until_scored"}
        least = foresee([replace(cell, run=cell.run.model_copy(update=frugal)) for cell in cells]).disk.bytes
        less = f"; keep_checkpoints=until_scored needs about {_size(least)}" if least < peak else ""
        yield (
            f"disk (for paths.results={results}): about {_size(peak)} at its peak, and {_size(free)} are free{less}"
        )
