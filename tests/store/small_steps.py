"""Steps that write a word, and one that fails."""

from im_bench import config
from im_bench.store import Step


class Spec(config.Frozen):
    size: int
    scale: float = 1.0


def write(out, *inputs):
    (out / "result.txt").write_text("+".join([path.name.split("-")[0] for path in inputs] + ["made"]))


def step(size=3, run=write, needs=(), label="label", version=1, kind="train", **more):
    return Step(kind, Spec(size=size, **more), run, needs=needs, label=label, version=version)


def fail(out):
    (out / "part.txt").write_text("x")
    raise RuntimeError("the reason")
