"""The store: what a step's identity is, and that its outputs are made once, whole, whatever happens."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

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
LOSSES = Step(
    "analysis",
    identity.LossesIdentity(
        analysis="losses", heldout=(SOURCE,), examples=None, max_tokens=2048, precision="bf16"
    ),
    write,
    needs=(trained(1.0), BASE),
)
MEMORISATION = Step(
    "analysis",
    identity.MemorisationIdentity(analysis="memorisation", examples=None, max_new_tokens=8192),
    write,
    needs=(trained(1.0),),
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
    "losses": (LOSSES, "f5f1006b"),
    "memorisation": (MEMORISATION, "05b9f494"),
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


DAMAGED = {"empty": "", "half": '{"key": ', "list": "[]", "bytes": b"\xff\xfe"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named_and_the_step_runs_again(tmp_path, content, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not Store(tmp_path).done(step())
    assert f"{record} is damaged" in caplog.text
    Store(tmp_path).ensure(step())
    assert Store(tmp_path).done(step())


def test_the_record_of_another_step_is_none(tmp_path, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_text(record.read_text().replace('"size": 3', '"size": 4'))
    assert not Store(tmp_path).done(step())
    assert f"it does not describe train/label-{step().key}" in caplog.text


CUT = {"cut short": lambda file: file.write_text("ma"), "gone": lambda file: file.unlink()}


@pytest.mark.parametrize("harm", CUT.values(), ids=CUT)
def test_an_output_that_is_not_what_its_record_says_is_named_and_made_again(tmp_path, harm, caplog):
    harm(Store(tmp_path).ensure(step()) / "result.txt")
    assert not Store(tmp_path).done(step())
    assert "result.txt " in caplog.text
    assert "not 4): the step is not done, and is made again when it is needed" in caplog.text
    assert (Store(tmp_path).ensure(step()) / "result.txt").read_text() == "made"


def test_what_needs_a_damaged_step_starts_from_it_when_it_was_made_again(tmp_path):
    made, needing = step(4), step(needs=(step(4),))
    (Store(tmp_path).ensure(made) / "result.txt").write_text("")
    Store(tmp_path).ensure(needing)
    assert (Store(tmp_path).path(made) / "result.txt").read_text() == "made"


def test_a_record_of_another_version_is_told_with_the_version(tmp_path):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_text(record.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(UserError, match=r"im-bench [\d.]+ has written it \(record format 3\), and this is"):
        Store(tmp_path).done(step())


def test_a_record_of_the_same_format_is_taken_whatever_version_wrote_it(tmp_path, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    written = json.loads(record.read_text())
    written["made"]["packages"] = {"im-bench": "99.9"}
    record.write_text(json.dumps(written))
    assert Store(tmp_path).done(step())
    assert "damaged" not in caplog.text


def test_a_record_holds_no_path_of_this_machine(tmp_path):
    record = Store(tmp_path).ensure(step()) / RECORD
    assert str(tmp_path) not in record.read_text()


# --- files that are dropped ---


def test_a_step_whose_files_were_dropped_is_done_and_runs_again_only_when_they_are_needed(tmp_path):
    store, needing = Store(tmp_path), step(needs=(step(4),))
    out = store.ensure(step(4))
    store.drop(step(4), [out / "result.txt"])
    assert not (out / "result.txt").exists()
    assert store.done(step(4)) and not store.whole(step(4))
    assert store.missing([step(4)]) == []
    assert [each.key for each in store.missing([step(4), needing])] == [step(4).key, needing.key]
    store.ensure(needing)
    assert store.whole(step(4)) and (out / "result.txt").exists()


def test_what_was_dropped_and_is_not_read_has_nothing_run_again(tmp_path):
    store = Store(tmp_path)
    out = store.ensure(step(4))
    store.drop(step(4), [out / "result.txt"])
    other = replace(step(needs=(step(4),)), reads=lambda name: name != "result.txt")
    assert [each.key for each in store.missing([step(4), other])] == [other.key]
    store.ensure(other)
    assert not store.whole(step(4))


def test_a_step_whose_files_were_dropped_is_made_whole_where_that_is_asked(tmp_path):
    store = Store(tmp_path)
    out = store.ensure(step())
    store.drop(step(), [out / "result.txt"])
    assert store.ensure(step(run=None)) == out and not store.whole(step())
    assert store.ensure(step(), whole=True) == out and store.whole(step())
    store.ensure(step(run=None), whole=True)


def test_a_kill_amid_dropping_leaves_a_step_that_is_done_and_not_whole(tmp_path, monkeypatch):
    store = Store(tmp_path)
    out = store.ensure(step())

    def die(path, missing_ok):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pathlib.Path.unlink", die)
        store.drop(step(), [out / "result.txt"])
    assert (out / "result.txt").exists()
    assert store.done(step()) and not store.whole(step()) and not store.locked(step())
    store.drop(step(), [out / "result.txt"])
    assert not (out / "result.txt").exists()
    store.ensure(step(), whole=True)
    assert store.whole(step()) and json.loads((out / RECORD).read_text())["dropped"] == []


def test_files_are_dropped_beside_others_that_were_and_of_a_step_that_is_done_only(tmp_path):
    def two(out):
        for name in "ab":
            (out / name).touch()

    store = Store(tmp_path)
    out = store.ensure(step(run=two))
    for name in "ab":
        store.drop(step(), [out / name])
    assert json.loads((out / RECORD).read_text())["dropped"] == ["a", "b"]
    store.drop(step(), [])
    (store.path(step(4))).mkdir()
    (store.path(step(4)) / "result.txt").touch()
    store.drop(step(4), [store.path(step(4)) / "result.txt"])
    assert (store.path(step(4)) / "result.txt").exists()


def test_a_file_that_is_gone_and_was_not_dropped_is_damage(tmp_path):
    def two(out):
        for name in "ab":
            (out / name).touch()

    store = Store(tmp_path)
    out = store.ensure(step(run=two))
    store.drop(step(), [out / "a"])
    (out / "b").unlink()
    assert not store.done(step())


def test_what_must_run_is_what_is_not_done_and_what_that_needs(tmp_path):
    first, second, third = step(1), step(2, needs=(step(1),)), step(3, needs=(step(1),))
    steps = [first, second, first, third]
    Store(tmp_path).ensure(second)
    assert [each.key for each in Store(tmp_path).missing(steps)] == [third.key]


# --- where a step stands ---


def test_a_step_waits_runs_and_is_done(tmp_path):
    store, seen = Store(tmp_path), []
    assert store.state(step()).name == "todo"
    store.ensure(step(run=lambda out: seen.append(Store(tmp_path).state(step()))))
    assert seen[0].name == "running" and f"process {os.getpid()}" in seen[0].where and seen[0].since
    assert store.state(step()).name == "done"


def test_a_failed_step_says_why_and_where_its_traceback_is(tmp_path):
    with pytest.raises(StepFailed):
        Store(tmp_path).ensure(step(run=fail))
    state = Store(tmp_path).state(step())
    assert (state.name, state.why) == ("failed", "RuntimeError: the reason")
    assert "Traceback" in state.path.read_text()


def test_a_step_that_could_not_say_so_itself_has_failed_with_the_words_given(tmp_path):
    store = Store(tmp_path)
    path = store.fail(step(), "its process was killed by SIGKILL")
    assert path.parent == store.path(step())
    assert store.state(step()) == ("failed", "", "", "its process was killed by SIGKILL", path)
    store.ensure(step())
    assert store.state(step()).name == "done" and not path.exists()


def test_a_step_that_was_interrupted_waits_for_its_next_turn(tmp_path):
    def interrupted(out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).ensure(step(run=interrupted))
    assert Store(tmp_path).state(step()).name == "todo"


def test_a_failed_step_that_is_tried_again_is_no_longer_failed(tmp_path):
    with pytest.raises(StepFailed):
        Store(tmp_path).ensure(step(run=fail))
    seen = []
    Store(tmp_path).ensure(step(run=lambda out: seen.append(Store(tmp_path).state(step()).name)))
    assert seen == ["running"]
    assert not (Store(tmp_path).path(step()) / store.ERROR).exists()


def test_what_is_said_beside_a_step_is_none_of_its_outputs(tmp_path):
    def run(out):
        (out / store.EVENTS).write_text("{}\n")
        (out / store.ERROR).write_text("of an earlier try")
        (out / "result.txt").touch()

    out = Store(tmp_path).ensure(step(run=run))
    assert json.loads((out / RECORD).read_text())["files"] == {"result.txt": 0}
    (out / store.EVENTS).unlink()
    assert Store(tmp_path).whole(step())


# --- file systems ---


def test_locks_that_work_pass(tmp_path):
    Store(tmp_path / "new").check_locks()
    assert list((tmp_path / "new").iterdir()) == []


def no_locks(file, how):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(
    ("flock", "said"),
    [(no_locks, "No locks available"), (lambda file, how: None, "two processes could hold one lock")],
    ids=["there are none", "they keep nobody out"],
)
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, flock, said):
    monkeypatch.setattr(store.fcntl, "flock", flock)
    with pytest.raises(UserError, match=f"no working locks .*{said}.*paths.results=FOLDER"):
        Store(tmp_path).check_locks()


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


def test_a_user_s_error_passes_as_it_is_and_is_kept(tmp_path):
    def refuse(out):
        raise UserError("rows.jsonl, row 3: the output is empty")

    with pytest.raises(UserError, match="rows.jsonl, row 3: the output is empty"):
        Store(tmp_path).ensure(step(run=refuse))
    assert Store(tmp_path).state(step()).why == "rows.jsonl, row 3: the output is empty"


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


def test_a_step_runs_where_a_process_that_lives_makes_it_and_was_killed_when_that_is_no_more(
    process, tmp_path
):
    shared = step(label="shared")
    first = process()
    while not (Store(tmp_path).path(shared) / "ran.txt").exists():
        assert first.poll() is None
        time.sleep(0.01)
    running = Store(tmp_path).state(shared)
    assert Store(tmp_path).locked(shared)
    assert running.name == "running" and running.where.endswith(f", process {first.pid}") and running.since
    with pytest.raises(UserError, match="stopped; another process is making it"):
        Store(tmp_path).ensure(shared, stop=lambda: True)
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    killed = Store(tmp_path).state(shared)
    assert not Store(tmp_path).locked(shared)
    assert killed == ("killed", running.where, running.since, "", None)
    Store(tmp_path).ensure(shared)
    assert Store(tmp_path).state(shared) == ("done", "", "", "", None)
    assert [
        path.name for path in Store(tmp_path).path(shared).iterdir() if path.name.startswith("running")
    ] == []


def test_files_of_a_step_that_another_process_is_making_again_are_not_dropped(process, tmp_path):
    shared = step(label="shared")
    out = Store(tmp_path).ensure(shared)
    (out / RECORD).rename(out / "hidden")
    first = process()
    assert first.stdout.readline().startswith("train/shared-")
    (out / "hidden").rename(out / RECORD)
    with pytest.raises(UserError, match="another process is making it"):
        Store(tmp_path).drop(shared, [out / "result.txt"])
    assert (out / "result.txt").exists() and Store(tmp_path).whole(shared)
