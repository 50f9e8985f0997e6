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
