"""Values that many tests start from."""

from im_bench.config import HF, Runtime, Train

TRAIN = Train(
    epochs=2,
    global_batch=4,
    max_tokens=128,
    learning_rate=1e-2,
    warmup_ratio=0.25,
    schedule="linear",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    max_grad_norm=1.0,
    precision="fp32",
)
RUNTIME = Runtime(device="cpu", micro_batch_tokens=128, save_steps=3, threads=None)
ENGINE = HF(kind="hf", batch_size=8)


class Seen:
    """A follower that remembers who told it what, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def began(self, key: str) -> None:
        self.told.append(("began", key))

    def within(self, key: str, done: float, total: float, what: str) -> None:
        self.told.append(("within", key, done, total, what))

    def ended(self, key: str) -> None:
        self.told.append(("ended", key))
