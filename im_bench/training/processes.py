"""Several processes for one training: started by accelerate, followed by the lines that the first one writes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from im_bench.config import Runtime, UserError

EVENTS = "worker.jsonl"
OUTPUT = "worker.log"
FSDP = "ACCELERATE_USE_FSDP"
# Accelerate's own, so that those in a user's home folder, which are of another training, do not count.
DEFAULTS = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "NO",
    "mixed_precision": "no",
    "use_cpu": False,
    "debug": False,
}
# From sys/prctl.h.
PR_SET_PDEATHSIG = 1


def start(folder: Path, runtime: Runtime, follow: Callable[[dict[str, float]], None]) -> None:
    """Run `im_bench.training.worker` on `folder` in `runtime.processes` processes, to their end.

    Raises:
        UserError: what a worker says is for the user to mend.
        RuntimeError: when a worker fails, naming the file of its output.
    """
    events, output = folder / EVENTS, folder / OUTPUT
    events.write_text("")
    with output.open("w") as file, TemporaryDirectory(prefix="im-bench-") as scratch:
        defaults = Path(scratch) / "accelerate.json"
        defaults.write_text(json.dumps(DEFAULTS))
        process = subprocess.Popen(
            _command(folder, runtime, defaults),
            stdout=file,
            stderr=subprocess.STDOUT,
            # torch's launcher leaves a folder behind.
            env=os.environ | {"ACCELERATE_USE_CPU": str(runtime.device == "cpu").lower(), "TMPDIR": scratch},
            preexec_fn=end_with_parent,
        )
        try:
            for values in _lines(events, process):
                if "error" in values:
                    raise UserError(values["error"])
                follow(values)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        last = output.read_text(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"a training process failed ({' '.join(last)}); its output is in {output}")
    events.unlink()
    output.unlink()


def end_with_parent() -> None:
    """Have the system end this process when its parent dies, however that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def shard_where_asked(runtime: Runtime) -> None:
    """Have accelerate shard on a CPU too, where it would only copy: for tests of what runs on GPUs.

    Called when the arguments of the Trainer have set up the processes, and before the Trainer reads how.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState()
    if state.distributed_type == DistributedType.MULTI_CPU and os.environ.get(FSDP) == "true":
        state._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def sum_in_fp32(accelerator: Any) -> None:
    """Have sharded processes compute in bf16 where they are asked to, but add up losses and gradients in fp32."""
    if accelerator.is_fsdp2 and accelerator.mixed_precision == "bf16":
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32
        )


def _command(folder: Path, runtime: Runtime, defaults: Path) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    how = ["--multi_gpu"]
    if runtime.parallel == "fsdp":
        how = ["--use_fsdp", "--fsdp_version=2", "--fsdp_auto_wrap_policy=TRANSFORMER_BASED_WRAP"]
        # Every process loads the weights itself, for the frozen model of a KL term is not sharded.
        how += ["--fsdp_state_dict_type=SHARDED_STATE_DICT", "--fsdp_cpu_ram_efficient_loading=false"]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", f"--config_file={defaults}", *how),
        *(f"--num_processes={runtime.processes}", "--num_machines=1", f"--main_process_port={port}"),
        *("--mixed_precision=no", "--dynamo_backend=no"),
        *("-m", "im_bench.training.worker", str(folder)),
    ]


def _lines(events: Path, process: subprocess.Popen[bytes]) -> Iterator[dict]:
    """What is written to the file, as it is written, until the process ends."""
    with events.open() as file:
        rest = ""
        while True:
            ended = process.poll() is not None
            rest += file.read()
            *whole, rest = rest.split("\n")
            yield from map(json.loads, whole)
            if ended:
                return
            time.sleep(0.1)
