"""Where the jobs of a sweep are done, and what each of them gets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from im_bench.config.values import Count, Frozen, NotNegative, Positive


class Resources(Frozen):
    """What one job of a launcher gets."""

    gpus: NotNegative
    """For Ray also a fraction of one. With runtime.device=cpu none are asked for."""
    cpus: Count
    memory_gb: Positive | None
    """Null asks for none in particular."""
    minutes: Count | None
    """Of SLURM; when they are over, the job goes on in the queue where it was. Null is the partition's."""


class Stages(Frozen):
    """What each stage of a cell gets: its training, its benchmarks, its verdicts."""

    train: Resources
    score: Resources
    judge: Resources


class Local(Frozen):
    """This machine, in processes of its own."""

    kind: Literal["local"]
    jobs: Count
    """Cells at a time."""


class Ray(Frozen):
    """A Ray cluster, or the GPUs of this machine."""

    kind: Literal["ray"]
    address: str | None
    """Of a cluster: `auto`, or `HOST:PORT`; null starts Ray on this machine."""
    resources: Stages

    @field_validator("resources")
    @classmethod
    def several_gpus_are_whole(cls, value: Stages) -> Stages:
        for stage, resources in value:
            if resources.gpus > 1 and resources.gpus != int(resources.gpus):
                raise ValueError(
                    f"launcher.resources.{stage}.gpus={resources.gpus}: a job shares one GPU, or has several whole ones"
                )
        return value


class Slurm(Frozen):
    """A SLURM cluster: an array of jobs for each stage, each job after that of its cell before it."""

    kind: Literal["slurm"]
    partition: str | None
    account: str | None
    jobs: Count | None
    """Of an array at a time; null is all."""
    requeues: Annotated[int, Field(ge=0)]
    """How often a job goes on whose minutes are over; pre-emptions count, and need none left."""
    setup: tuple[str, ...]
    """Lines of the job's script before it, e.g. `module load cuda`."""
    options: dict[str, str | int]
    """More of sbatch, e.g. `{qos: low, constraint: a100}`."""
    resources: Stages

    @field_validator("resources")
    @classmethod
    def gpus_are_whole(cls, value: Stages) -> Stages:
        for stage, resources in value:
            if resources.gpus != int(resources.gpus):
                raise ValueError(
                    f"launcher.resources.{stage}.gpus={resources.gpus}: SLURM gives whole GPUs; launcher=ray shares one"
                )
        return value


Launcher = Annotated[Local | Ray | Slurm, Field(discriminator="kind")]
