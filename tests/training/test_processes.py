"""Two processes that train one model, by gloo on this machine: the same losses and weights as one process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from im_bench.config import Lora, UserError
from im_bench.training.loss import CHUNK

pytestmark = pytest.mark.slow

ROWS = [{"prompt": f"What is {n} + 1?", "completion": f"{n + 1}." * (1 + n % 4)} for n in range(22)]
# Everything that could tell processes apart: uneven micro-batches, noise of each example, a second model.
ALL = {"prompt_weight": 0.5, "average": "token", "neftune_alpha": 5.0, "kl_weight": 0.1}
OPTIONS = {"epochs": 2, "global_batch": 8, "save_epochs": True}


def losses_and_weights(tuned, weights, name, **options):
    events = []
    out = tuned(name, ROWS, follow=events.append, **OPTIONS | options)
    return [event["loss"] for event in events], weights(out), out


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_have_the_loss_curve_of_one(tuned, weights, parallel):
    one, single, _ = losses_and_weights(tuned, weights, "one", loss=ALL)
    two = {"processes": 2, "parallel": parallel, "threads": 1, "micro_batch_tokens": 128}
    curve, shared, out = losses_and_weights(tuned, weights, "two", loss=ALL, runtime=two)
    assert curve == pytest.approx(one, rel=1e-6)
    for name in single:
        torch.testing.assert_close(shared[name], single[name], rtol=1e-4, atol=1e-5)
    assert (out / "epochs" / "1" / "tokenizer.json").is_file()
    assert not list(out.glob("worker.*")), "what the processes wrote to each other is gone"


def test_processes_whose_tokens_make_unlike_numbers_of_chunks_do_not_wait_for_each_other(tuned, weights):
    rows = [
        {"prompt": f"What is {n} + 1?", "completion": "".join(str(n * k) for k in range(60 * (n % 2)))}
        for n in range(8)
    ]
    rows = [row | {"completion": row["completion"] or "?"} for row in rows]
    options = {"loss": {"prompt_weight": 1}, "max_tokens": 200, "epochs": 1, "global_batch": 8}
    options["runtime"] = {"micro_batch_tokens": 1024}
    one = tuned("one", rows, **options)
    assert json.loads((one / "training.json").read_text())["supervised_tokens"] > CHUNK + 50
    options["runtime"] |= {"processes": 2, "parallel": "fsdp", "threads": 1}
    two = weights(tuned("two", rows, **options))
    for name, weight in weights(one).items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5)


def test_sharded_low_rank_updates_are_saved_whole(tuned, weights):
    lora = Lora(rank=4, alpha=8, dropout=0.0)
    one, single, _ = losses_and_weights(tuned, weights, "one", lora=lora)
    two = {"processes": 2, "parallel": "fsdp", "threads": 1}
    curve, shared, _ = losses_and_weights(tuned, weights, "two", lora=lora, runtime=two)
    assert curve == pytest.approx(one, rel=1e-6)
    for name in single:
        torch.testing.assert_close(shared[name], single[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_in_bf16_two_processes_have_the_curve_of_one_but_for_rounding(tuned, weights, parallel):
    options = {"loss": ALL, "precision": "bf16"}
    one, _, _ = losses_and_weights(tuned, weights, "one", **options)
    two = {"processes": 2, "parallel": parallel, "threads": 1, "gradient_checkpointing": True}
    curve, _, _ = losses_and_weights(tuned, weights, "two", runtime=two, **options)
    # Eight bits of mantissa; the loss is a mean of dozens of tokens.
    assert curve == pytest.approx(one, rel=5e-3)


def test_two_processes_go_on_from_where_they_were_cut_off(tuned, weights, tmp_path):
    two = {"processes": 2, "parallel": "fsdp", "threads": 1}
    # Long enough that the processes are not through before they are stopped.
    options = OPTIONS | {"epochs": 4}
    _, whole, _ = losses_and_weights(tuned, weights, "whole", runtime=two, epochs=4)

    def interrupt(values):
        if values["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned("cut", ROWS, follow=interrupt, runtime=two, **options)
    steps = []
    out = tuned("cut", ROWS, follow=lambda values: steps.append(values["step"]), runtime=two, **options)
    assert steps[0] > 1 and steps[-1] == 12
    resumed = weights(out)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# `sitecustomize` is what Python imports of its own accord: here, in the second process alone.
LATE = """
import os, time
if os.environ.get("RANK") == "1":
    import torch
    save = torch.save
    def late(values, file, *arguments, **options):
        if "checkpoint-4/rng_state" in str(file):
            time.sleep(60)
        save(values, file, *arguments, **options)
    torch.save = late
"""


def test_a_state_stays_until_every_process_has_written_its_part_of_the_next(tuned, tmp_path, monkeypatch):
    (tmp_path / "late").mkdir()
    (tmp_path / "late/sitecustomize.py").write_text(LATE)
    two = {"processes": 2, "parallel": "fsdp", "threads": 1}
    states = tmp_path / "cut/state/fsdp-2"

    def interrupt_amid_saving(values):
        if values["step"] == 4:
            end = time.monotonic() + 60
            while not (states / "checkpoint-4/trainer_state.json").exists():
                assert time.monotonic() < end
                time.sleep(0.01)
            time.sleep(0.2)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setenv("PYTHONPATH", str(tmp_path / "late"), prepend=os.pathsep)
        tuned("cut", ROWS, follow=interrupt_amid_saving, runtime=two, **OPTIONS)
    assert not (states / "checkpoint-4/rng_state_1.pth").exists()
    steps = []
    tuned("cut", ROWS, follow=lambda values: steps.append(values["step"]), runtime=two, **OPTIONS)
    assert steps[0] == 3


def test_what_a_worker_finds_wrong_is_the_user_s_to_read(tuned):
    with pytest.raises(UserError, match="positions; train.max_tokens=256 cuts what is longer"):
        tuned(
            "out", [{"prompt": "Hi! " * 200, "completion": "Ho."}], max_tokens=2048, runtime={"processes": 2}
        )


def test_a_worker_that_dies_is_told_with_the_file_of_its_output(tuned, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "not a number of threads")
    monkeypatch.setenv("PYTHONHASHSEED", "no seed either")
    with pytest.raises(RuntimeError, match=r"a training process failed \(.*its output is in .*worker\.log"):
        tuned("out", ROWS, runtime={"processes": 2})


def test_a_process_ends_with_its_parent_however_that_ends(tmp_path):
    child = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; from im_bench.training.processes import end_with_parent;"
        "p = subprocess.Popen(['sleep', '60'], preexec_fn=end_with_parent);"
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not child.is_file() or not child.read_text():
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{child.read_text()}") or "Z" in _state(child.read_text()):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def _state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
