"""The loss and the loop."""

EPOCHS = "epochs"
"""In a training's folder: the checkpoints after each epoch but the last, by its number."""
TOTALS = "training.json"
"""In a training's folder: what it came to, see `im_bench.training.trainer.fit`."""
