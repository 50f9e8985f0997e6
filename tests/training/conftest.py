"""A base model on disk, and trainings of it."""

import json

import pytest
from safetensors.torch import load_file
from settings import RUNTIME, TRAIN

from im_bench.assets import file_sha256
from im_bench.checkpoint import save
from im_bench.config import Subset
from im_bench.data.sources import Source
from im_bench.identity import LossIdentity, SourceIdentity, TrainIdentity
from im_bench.training.tuning import Job, tune


def ignore(values):
    """Whoever follows a training and does not listen."""


@pytest.fixture
def base(model, tokenizer, tmp_path):
    folder = tmp_path / "base"
    save(folder, model, tokenizer)
    return folder


@pytest.fixture
def tuned(base, tmp_path):
    """Tune the base model on rows into a folder of that name, and return the folder."""

    def run(
        name,
        rows,
        *,
        loss=None,
        runtime=None,
        follow=ignore,
        tell=ignore,
        size=None,
        tokenizer=None,
        **options,
    ):
        file, out = tmp_path / "rows.jsonl", tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out.mkdir(exist_ok=True)
        it = {"prompt_weight": 0, "output_weight": 1, "template_weight": 0, "average": "example"}
        empty = options.pop("allow_empty_output", False)
        read = SourceIdentity(sha256=file_sha256(file), format="prompt_completion", allow_empty_output=empty)
        source = Source(name="rows", file=file, spec=read, num_examples=None)
        spec = TrainIdentity(
            dataset=(source.spec,),
            subset=Subset(name="first" if size else "full", size=size),
            loss=LossIdentity(**it | (loss or {})),
            train=TRAIN.model_copy(update={"epochs": 1, "global_batch": 2, "max_tokens": 64} | options),
            seed=0,
        )
        job = Job(
            weights=str(base),
            revision=None,
            tokenizer=tokenizer or base,
            spec=spec,
            sources=(source,),
            runtime=RUNTIME.model_copy(update={"save_steps": 2, "micro_batch_tokens": 256} | (runtime or {})),
        )
        tune(out, job, follow=follow, tell=tell)
        return out

    return run


@pytest.fixture
def weights():
    return lambda folder: load_file(folder / "model.safetensors")
