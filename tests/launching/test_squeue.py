"""What SLURM says of jobs that do not run, and how often a person is told."""

import logging
import subprocess

import pytest

from im_bench.launching import squeue
from im_bench.launching.squeue import Known, Silent, Waiting, ask

RESOURCES = Known("PENDING", "Resources")
PRIORITY = Known("PENDING", "Priority")
DEPENDENCY = Known("PENDING", "Dependency")
RUNNING = Known("RUNNING", "None")
HELD = Known("PENDING", "launch failed requeued held")


def told(caplog: pytest.LogCaptureFixture, *looks: dict[str, Known]) -> list[str]:
    caplog.set_level(logging.INFO, "im_bench")
    caplog.clear()
    waiting = Waiting()
    for jobs in looks:
        waiting.tell(jobs)
    return caplog.messages


def why(reasons: str) -> str:
    return f"SLURM: no job runs now; they wait ({reasons})"


def test_why_jobs_wait_is_told_once_while_nothing_runs_and_again_when_it_is_another_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = {"1_0": RESOURCES, "2_0": DEPENDENCY}, {"1_0": RESOURCES, "1_1": PRIORITY}
    assert told(caplog, *[first] * 3, *[second] * 3) == [why("Resources"), why("Priority, Resources")]


def test_a_reason_that_has_lasted_for_one_look_alone_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """As SLURM says one of every job that has just come."""
    assert told(caplog, {"1": PRIORITY}, {"1": RESOURCES}, {"1": RUNNING}, {"1": RESOURCES}) == []


def test_while_a_job_runs_nobody_asks_why_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, *[{"1_0": RUNNING, "1_1": RESOURCES}] * 3) == []


def test_jobs_that_wait_again_are_told_again(caplog: pytest.LogCaptureFixture) -> None:
    looks = [{"1": RESOURCES}] * 2 + [{"1": RUNNING}] + [{"1": RESOURCES}] * 2
    assert told(caplog, *looks) == [why("Resources")] * 2


def test_jobs_that_wait_for_each_other_or_were_not_looked_at_have_no_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert told(caplog, *[{"1": Known("PENDING", "None"), "2": DEPENDENCY}] * 3) == []


def test_a_job_that_is_held_is_told_with_what_releases_it_once_for_its_array(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = {"7_0": HELD, "7_1": HELD, "8": DEPENDENCY}
    line = "SLURM job 7 is held (launch failed requeued held); scontrol release 7 has it go on"
    assert told(caplog, *[held] * 3) == [line]
    assert told(caplog, held, {"7_0": RUNNING, "7_1": RUNNING}, held) == [line] * 2


def test_jobs_are_known_by_their_state_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    says = "7_0 PENDING launch failed requeued held\n7_1 RUNNING None\n6 COMPLETED None\n"

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[0] == "squeue"
        return subprocess.CompletedProcess(command, 0, says, "")

    monkeypatch.setattr(squeue.subprocess, "run", run)
    assert ask() == {"7_0": HELD, "7_1": RUNNING, "6": Known("COMPLETED", "None")}
    assert [(job.is_alive, job.is_held, job.waits) for job in ask().values()] == [
        (True, True, False),
        (True, False, False),
        (False, False, False),
    ]


def test_a_controller_that_is_away_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="slurm_load_jobs error: Unable to contact\n")

    monkeypatch.setattr(squeue.subprocess, "run", run)
    with pytest.raises(Silent, match="^slurm_load_jobs error: Unable to contact$"):
        ask()
