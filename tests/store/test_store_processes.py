"""Several processes and one store: one of them makes a step, and whatever ends it gives the step back."""

import signal
import subprocess
import sys
import time

import pytest
from small_steps import step

from im_bench.config import UserError
from im_bench.store import RECORD, Store

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
