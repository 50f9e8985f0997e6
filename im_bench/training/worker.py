"""One of several processes of a training: `accelerate launch -m im_bench.training.worker FOLDER`.

It reads the training from the folder's own JSON; the first process writes what it has to tell into the folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from im_bench.config import UserError
from im_bench.training.processes import EVENTS, end_with_parent
from im_bench.training.tuning import read_job, train_here


def main(folder: Path) -> None:
    end_with_parent()
    job = read_job(folder)
    if job.runtime.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if job.runtime.threads is not None:
        torch.set_num_threads(job.runtime.threads)
    with (folder / EVENTS).open("a") as events:

        def tell(values: dict) -> None:
            if os.environ["RANK"] == "0":
                events.write(json.dumps(values) + "\n")
                events.flush()

        try:
            train_here(folder, job, tell)
        except UserError as error:
            tell({"error": str(error)})
        else:
            _leave_together()


def _leave_together() -> None:
    """Who ended first would break the others' connections, and gloo aborts at a broken one."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
