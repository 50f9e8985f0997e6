"""The store: what a step's identity is, and that its outputs are made once, whole, whatever happens."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from im_bench import config, identity, store
from im_bench.config import UserError
from im_bench.store import RECORD, Step, StepFailed, Store


class Spec(config.Frozen):
    size: int
    scale: float = 1.0


def write(out, *inputs):
    (out / "result.txt").write_text("+".join([path.name.split("-")[0] for path in inputs] + ["made"]))


def step(size=3, run=write, needs=(), label="label", version=1, kind="train", **more):
    return Step(kind, Spec(size=size, **more), run, needs=needs, label=label, version=version)


# --- identity ---


def test_a_key_is_eight_hex_digits_of_the_identity():
    assert len(step().key) == 8
    assert int(step().key, 16) >= 0


@pytest.mark.parametrize(
    "other",
    [step(4), step(scale=2.0), step(version=2), step(kind="base"), step(needs=(step(4),))],
    ids=["config", "optional field", "version", "kind", "needs"],
)
def test_what_changes_the_outputs_changes_the_key(other):
    assert other.key != step().key


def test_how_and_where_a_step_runs_and_what_it_is_called_do_not_change_its_key():
    assert step(run=print, label="another").key == step().key


def test_a_field_that_holds_its_default_is_left_out_so_that_adding_one_keeps_old_keys():
    class Before(config.Frozen):
        size: int

    assert Step("train", Before(size=3), write).key == step(scale=1.0).key
    assert "scale" not in step(scale=1.0).identity["config"]


def test_a_key_follows_the_keys_of_what_it_needs_all_the_way():
    def chain(size):
        return step(needs=(step(needs=(step(size),)),))

    assert chain(1).key != chain(2).key
    assert chain(1).key == chain(1).key


def test_equal_numbers_have_one_key_however_they_are_written():
    loss = {"output_weight": 1.0, "template_weight": 0.0, "average": "example"}
    one, also_one = (identity.LossIdentity(prompt_weight=weight, **loss) for weight in (1, 1.0))
    assert Step("train", one, write).key == Step("train", also_one, write).key


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        _ = step(scale=float("inf")).key


# A change here orphans everybody's results: bump the step's version instead, and never edit these.
TRAIN = config.Train(
    epochs=2,
    global_batch=128,
    max_tokens=2048,
    learning_rate=2e-5,
    warmup_ratio=0.03,
    schedule="linear",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    max_grad_norm=0.0,
    precision="bf16",
)
HUB = identity.BaseIdentity(source="hub", template_sha256="aa", id="org/name", revision="1")
BASE = Step("base", HUB, write)


SOURCE = identity.SourceIdentity(sha256="bb", format="messages")


def trained(prompt_weight, size=None):
    loss = identity.LossIdentity(
        prompt_weight=prompt_weight, output_weight=1.0, template_weight=0.0, average="example"
    )
    subset = config.Subset(name="random" if size else "full", size=size)
    spec = identity.TrainIdentity(dataset=(SOURCE,), subset=subset, loss=loss, train=TRAIN, seed=0)
    return Step("train", spec, write, needs=(BASE,))


def scored(benchmark, limit=None):
    spec = identity.HarnessIdentity(
        benchmark=benchmark, benchmark_version=1, shots=10, limit=limit, data_sha256="official"
    )
    return Step("harness", spec, write, needs=(trained(1.0),))


ANSWERS = Step(
    "answers",
    identity.AnswersIdentity(
        questions="mt_bench", questions_sha256="cc", max_new_tokens=1024, limit=None, seed=0
    ),
    write,
    needs=(trained(1.0),),
)
VERDICTS = Step(
    "verdicts",
    identity.VerdictsIdentity(
        benchmark="mt_bench",
        benchmark_version=1,
        judge=identity.JudgeIdentity(kind="overlap", model="overlap", temperature=0.0),
        assets_sha256={"question": "cc"},
        seed=0,
    ),
    write,
    needs=(ANSWERS,),
)
GOLDEN = {
    "base": (BASE, "15c391f4"),
    "train it": (trained(0.0), "39f5b50f"),
    "train im": (trained(1.0), "949b43c6"),
    "train im on 100": (trained(1.0, 100), "bef3faa3"),
    "harness piqa": (scored("piqa"), "03ad29da"),
    "harness piqa of 10": (scored("piqa", 10), "ead33c97"),
    "answers": (ANSWERS, "3a70d416"),
    "verdicts": (VERDICTS, "4afae409"),
}


@pytest.mark.parametrize("made, key", GOLDEN.values(), ids=GOLDEN)
def test_keys_are_those_of_results_on_other_people_s_disks(made, key):
    assert made.key == key


# --- reuse and resume ---


def test_a_step_runs_once_after_those_it_needs(tmp_path):
    ran = []

    def run(out, *inputs):
        ran.append(out.name)
        write(out, *inputs)

    base = step(1, run, label="base")
    out = Store(tmp_path).ensure(step(2, run, needs=(base,), label="tuned"))
    assert Store(tmp_path).ensure(step(2, run, needs=(base,), label="tuned")) == out
    assert [name.split("-")[0] for name in ran] == ["base", "tuned"]
    assert (out / "result.txt").read_text() == "base+made"
    assert out == tmp_path / "train" / f"tuned-{step(2, needs=(base,)).key}"


def test_the_record_is_written_last_and_says_what_the_step_is_and_what_made_it(tmp_path):
    def run(out):
        assert not (out / RECORD).exists()
        assert not Store(tmp_path).done(step())

    out = Store(tmp_path).ensure(step(run=run))
    record = json.loads((out / RECORD).read_text())
    assert record["key"] == step().key
    assert record["identity"] == {
        "kind": "train",
        "version": 1,
        "config": {"size": 3},
        "needs": [],
    }
    assert record["made"]["packages"].keys() == set(store.PACKAGES)
    assert [path.name for path in out.iterdir()] == [RECORD]


def test_a_new_label_finds_the_old_folder(tmp_path):
    out = Store(tmp_path).ensure(step(label="old"))
    assert Store(tmp_path).ensure(step(label="new", run=None)) == out


def test_a_step_finds_its_own_leftovers(tmp_path):
    def half(out):
        (out / "part.txt").write_text("first ")
        raise KeyboardInterrupt

    def rest(out):
        (out / "result.txt").write_text((out / "part.txt").read_text() + "second")

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).ensure(step(run=half))
    assert not Store(tmp_path).done(step())
    assert (Store(tmp_path).ensure(step(run=rest)) / "result.txt").read_text() == "first second"


DAMAGED = {"empty": "", "half": '{"key": ', "list": "[]", "no identity": "{}", "bytes": b"\xff\xfe"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named(tmp_path, content):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=f"{record} is damaged .*; delete the folder and run again"):
        Store(tmp_path).ensure(step())


def test_the_record_of_another_step_is_named(tmp_path):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_text(record.read_text().replace('"size": 3', '"size": 4'))
    with pytest.raises(UserError, match=f"{record} does not describe train/label-{step().key}"):
        Store(tmp_path).done(step())


# --- failure ---


def fail(out):
    (out / "part.txt").write_text("x")
    raise RuntimeError("the reason")


def test_a_failed_step_keeps_its_traceback_and_is_tried_again(tmp_path):
    with pytest.raises(StepFailed, match="RuntimeError: the reason") as failure:
        Store(tmp_path).ensure(step(run=fail))
    assert str(failure.value.path) in str(failure.value)
    assert 'raise RuntimeError("the reason")' in failure.value.path.read_text()
    out = Store(tmp_path).ensure(step())
    assert sorted(path.name for path in out.iterdir()) == ["part.txt", "result.txt", RECORD]


def test_what_needs_a_failed_step_does_not_run(tmp_path):
    needing = step(run=lambda out, need: pytest.fail("it ran"), needs=(step(4, fail),))
    with pytest.raises(StepFailed) as failure:
        Store(tmp_path).ensure(needing)
    assert failure.value.step.key == step(4).key


def test_a_user_s_error_passes_as_it_is_and_leaves_no_empty_folder(tmp_path):
    def refuse(out):
        raise UserError("rows.jsonl, row 3: the output is empty")

    with pytest.raises(UserError, match="rows.jsonl, row 3: the output is empty"):
        Store(tmp_path).ensure(step(run=refuse))
    assert list((tmp_path / "train").glob("label-*")) == []


class SerialisingError(Exception):
    """Stands for safetensors' own, which has no errno."""


FULL = {
    "the system's": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "a quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    "a library's": SerialisingError("I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_full_disk_is_a_user_s_to_mend(tmp_path, error):
    def run(out):
        raise error

    with pytest.raises(UserError, match=r"label-\w+: the disk is full; make room and run the same command"):
        Store(tmp_path).ensure(step(run=run))
    assert Store(tmp_path).ensure(step()).exists()


def test_a_full_disk_is_known_by_its_room_where_the_error_says_nothing(tmp_path, monkeypatch):
    usage = store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(UserError, match="the disk is full"):
        Store(tmp_path).ensure(step(run=fail))


def test_another_system_error_is_no_full_disk(tmp_path):
    def run(out):
        (out / "none" / "x").read_text()

    with pytest.raises(StepFailed, match="FileNotFoundError"):
        Store(tmp_path).ensure(step(run=run))


# --- processes ---

SCRIPT = """
import logging, sys, time
from pathlib import Path
from im_bench.config import Frozen
from im_bench.store import Step, Store

class Spec(Frozen):
    size: int

def run(out):
    with (out / "ran.txt").open("a") as file:
        file.write("x")
    while not (root / "go").exists():
        time.sleep(0.01)

logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
root = Path(sys.argv[1])
print(Store(root).ensure(Step("train", Spec(size=3), run, label="shared")), flush=True)
"""


@pytest.fixture
def process(tmp_path):
    """Start a process that makes a step, which ends when the file `go` is there."""
    started = []

    def start():
        command = [sys.executable, "-u", "-c", SCRIPT, str(tmp_path)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stdout.close()


def test_a_second_process_says_what_it_waits_for_and_shares_it(process, tmp_path):
    first = process()
    assert first.stdout.readline().startswith("train/shared-")
    second = process()
    said = second.stdout.readline()
    assert said == f"waiting for train/shared-{step().key}, which another process is making\n"
    (tmp_path / "go").touch()
    out = tmp_path / "train" / f"shared-{step().key}"
    assert first.communicate(timeout=30)[0] == second.communicate(timeout=30)[0] == f"{out}\n"
    assert (out / "ran.txt").read_text() == "x"


def test_a_killed_process_leaves_no_record_and_gives_its_lock_back(process, tmp_path):
    first = process()
    assert first.stdout.readline().startswith("train/shared-")
    second = process()
    assert second.stdout.readline().startswith("waiting for")
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    assert second.stdout.readline().startswith("train/shared-")
    out = tmp_path / "train" / f"shared-{step().key}"
    assert not (out / RECORD).exists()
    (tmp_path / "go").touch()
    assert second.communicate(timeout=30)[0] == f"{out}\n"
    assert second.returncode == 0
    assert (out / "ran.txt").read_text() == "xx"
    assert Store(tmp_path).done(step(label="shared"))
