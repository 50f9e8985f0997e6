"""SLURM for real: two nodes on this machine, jobs that end early, and what is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_cluster
from slurm_cluster import SlurmCluster
from small_sweep import IM, IT, SMALL, Sweep, costs_its_own_cell, ended, wait_until

from im_bench.composing import CONF, compose_run
from im_bench.launching import slurm as launching
from im_bench.store import Step, Store

ABSENT = slurm_cluster.missing()
if ABSENT and os.environ.get("IM_BENCH_REQUIRE_CLUSTERS") != "1":
    pytest.skip(ABSENT, allow_module_level=True)
STAGES = ("train", "score", "judge")
FITTING = {"cpus": 1, "memory_gb": "null", "minutes": 5}
LAUNCHER = tuple(
    f"launcher.resources.{stage}.{key}={value}" for stage in STAGES for key, value in FITTING.items()
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("cluster"), cpus=1) as cluster:
        yield cluster


@pytest.fixture
def sweep(cluster: SlurmCluster, file: Path, tmp_path: Path) -> Sweep:
    return Sweep(file, tmp_path / "results", ("launcher=slurm", *LAUNCHER), cluster.environment)


def submitted(sweep: Sweep) -> dict[str, list[str]]:
    """The keys of the steps of each job that was submitted, by its number."""
    queue = sweep.results / "jobs" / "queue.jsonl"
    lines = queue.read_text().splitlines() if queue.exists() else []
    return {each["job"]: each["steps"] for each in map(json.loads, filter(None, lines))}


def job_of(sweep: Sweep, step: Step) -> str:
    """The job that makes a step, once it runs."""
    sweep.maker(step)
    found = re.search(r"SLURM job (\S+)", sweep.store.state(step).where)
    assert found
    assert step.key in submitted(sweep)[found[1]]
    return found[1]


def restarts(cluster: SlurmCluster, job: str) -> str:
    return cluster.jobs(job)[0]["Restarts"]


@pytest.mark.slow
def test_a_sweep_uses_all_nodes_and_comes_to_what_this_machine_alone_comes_to(
    sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    watched = sweep.watched(lambda: {place.partition(",")[0] for place in sweep.places()})
    assert watched.machines == {"node1", "node2"}
    where = r"running: train/\S+, node[12], process \d+, SLURM job \d+_[01], since"
    assert re.search(where, watched.status)
    base, *jobs = submitted(sweep)
    train, score, judge = dict.fromkeys(job.partition("_")[0] for job in jobs)
    assert jobs == [f"{array}_{task}" for array in (train, score, judge) for task in (0, 1)]
    assert f"SLURM job {base}: train of 1 cell\n" in watched.error
    for array, stage in ((train, "train"), (score, "score"), (judge, "judge")):
        assert f"SLURM job {array}: {stage} of 2 cells\n" in watched.error
    assert sweep.outcome == undisturbed
    assert sweep.run(*SMALL)[1] == "every step is done\n"
    log = (sweep.results / "jobs" / base / f"{base}_0_log.err").read_text()
    name = sweep.step("base", *SMALL).name
    assert f"\n{name}\n1 of 1 steps ended: {name}\n" in log
    assert f"\n{name}\n1 of 9 steps ended: {name}\n" in watched.error
    assert re.search(r"\n9 of 9 steps ended: verdicts/\S+\n", watched.error)


@pytest.mark.nightly
def test_all_cells_come_to_what_this_machine_alone_comes_to(
    sweep: Sweep, all_undisturbed: dict[str, str]
) -> None:
    sweep.run()
    assert sweep.outcome == all_undisturbed


@pytest.mark.nightly
def test_a_job_that_is_killed_costs_its_own_cell_and_the_same_command_makes_up_for_it(
    sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    job = job_of(sweep, train)
    sweep.kill(train)
    costs_its_own_cell(process, sweep, train, f"SLURM job {job} ended without a word (failed; its log: ")
    sweep.run(*SMALL)
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
def test_a_job_that_is_cancelled_costs_its_own_cell_and_the_same_command_makes_up_for_it(
    cluster: SlurmCluster, sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    """Its step may come to its end before SLURM kills it, and those after it are cancelled all the same."""
    process = sweep.start(*SMALL)
    cluster.run("scancel", job_of(sweep, sweep.step("train", *SMALL, IT)))
    _, error = ended(process, 1)
    assert " ended without a word (cancelled; its log: " in error
    assert re.search(r"failed steps: [12]; the same command tries them again\n$", error), error
    assert not sweep.store.done(sweep.step("verdicts", *SMALL, IT))
    assert sweep.store.done(sweep.step("verdicts", *SMALL, IM))
    sweep.run(*SMALL)
    assert sweep.outcome == undisturbed


def requeued(cluster: SlurmCluster, job: str) -> None:
    cluster.control("requeue", job)


def told_that_its_minutes_are_over(cluster: SlurmCluster, job: str) -> None:
    cluster.run("scancel", "--signal=USR2", job)


def preempted(cluster: SlurmCluster, job: str) -> None:
    urgent = ["--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"]
    cluster.submit(f"--nodelist={cluster.jobs(job)[0]['NodeList']}", *urgent)


def on_a_node_that_is_down(cluster: SlurmCluster, job: str) -> None:
    node = cluster.jobs(job)[0]["NodeList"]
    cluster.control("update", f"nodename={node}", "state=down", "reason=test")


def resume(cluster: SlurmCluster) -> None:
    """Nodes that are down, if any is."""
    asked = ["--noheader", "--Node", "--partition=main", "--states=down", "--format=%N"]
    for node in cluster.run("sinfo", *asked).split():
        cluster.control("update", f"nodename={node}", "state=resume")


@pytest.mark.nightly
@pytest.mark.parametrize(
    "what", [requeued, told_that_its_minutes_are_over, preempted, on_a_node_that_is_down]
)
def test_a_job_goes_on_that_is(
    cluster: SlurmCluster,
    sweep: Sweep,
    undisturbed: dict[str, str],
    what: Callable[[SlurmCluster, str], None],
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    job = job_of(sweep, train)
    what(cluster, job)
    try:
        _, error = ended(process)
    finally:
        resume(cluster)
    assert restarts(cluster, job) == "1"
    assert "failed" not in error
    assert len(submitted(sweep)) == 7
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
def test_a_job_whose_minutes_are_over_too_often_fails_with_the_others_unharmed(
    cluster: SlurmCluster, sweep: Sweep
) -> None:
    process = sweep.start(*SMALL, "launcher.requeues=0")
    train = sweep.step("train", *SMALL, IT)
    job = job_of(sweep, train)
    told_that_its_minutes_are_over(cluster, job)
    wait_until(lambda: sweep.store.locked(train))
    sweep.kill(train)  # as SLURM does, a while after
    assert f"failed: {train.name}: SLURM job {job} ended without a word" in ended(process, 1)[1]
    assert restarts(cluster, job) == "0"


@pytest.mark.nightly
def test_a_drained_node_ends_what_it_does_and_the_other_does_the_rest(
    cluster: SlurmCluster, sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    node = cluster.jobs(job_of(sweep, train))[0]["NodeList"]
    cluster.control("update", f"nodename={node}", "state=drain", "reason=test")
    try:
        ended(process)
    finally:
        cluster.control("update", f"nodename={node}", "state=resume")
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_jobs_outlive_the_command_and_the_same_command_follows_them(
    cluster: SlurmCluster, sweep: Sweep, undisturbed: dict[str, str], number: signal.Signals
) -> None:
    process = sweep.start(*SMALL)
    # Before all of them are submitted, or while the first runs.
    wait_until(lambda: len(submitted(sweep)) == 7)
    process.send_signal(number)
    _, error = ended(process, {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number))
    if number != signal.SIGKILL:
        arrays = " ".join(dict.fromkeys(job.partition("_")[0] for job in submitted(sweep)))
        assert f"scancel {arrays} ends them, and the same command follows them" in error.replace("\n", " ")
    before = submitted(sweep)
    _, error = sweep.run(*SMALL)
    assert "is in the queue already, with" in error
    assert submitted(sweep) == before
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
def test_what_is_submitted_later_waits_for_what_it_needs_of_the_queue(
    cluster: SlurmCluster, sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    """A command that was killed when it had submitted no more than the base model, which has still to run."""
    nodes = ("nodename=node[1-2]", "reason=test")
    cluster.control("update", *nodes, "state=drain")
    try:
        process = sweep.start(*SMALL)
        wait_until(lambda: len(submitted(sweep)) == 7)
        process.kill()
        process.communicate()
        base, *rest = submitted(sweep)
        cluster.run("scancel", *dict.fromkeys(job.partition("_")[0] for job in rest))
        second = sweep.start(*SMALL)
        wait_until(lambda: len(submitted(sweep)) == 13)
    finally:
        cluster.control("update", *nodes, "state=resume")
    assert f"SLURM job {base} is in the queue already" in ended(second)[1]
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
def test_a_controller_that_is_away_for_a_while_stops_no_sweep(
    cluster: SlurmCluster, sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    sweep.maker(train)
    controller = int((cluster.folder / "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        time.sleep(30)
    finally:
        os.kill(controller, signal.SIGCONT)
    ended(process)
    assert sweep.outcome == undisturbed


# --- what a job gets ---


@pytest.fixture
def inside(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands are the cluster's, for what this process starts too."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def begin(inside: None, tmp_path: Path) -> Callable[..., Any]:
    """The queue of a launcher with these overrides, of a cell on a GPU."""

    def begin(*overrides: str) -> Any:
        run = compose_run("config", CONF, ["experiment=toy", "runtime=gpu", "launcher=slurm", *overrides])
        queue = launching._Queue(run.launcher, Store(tmp_path / "store"))
        return queue._parameters("train", run, None)

    return begin


def test_a_job_gets_what_was_asked_for_its_stage(begin: Callable[..., Any]) -> None:
    asked = begin("launcher.account=lab", "launcher.jobs=3", "launcher.setup=[module load cuda]")
    assert asked["setup"][-1] == "module load cuda"
    assert asked["additional_parameters"] == {"requeue": True, "account": "lab", "signal": "USR2@90"}
    assert (asked["mem"], asked["gpus_per_node"], asked["cpus_per_task"]) == ("65536MB", 1, 8)
    assert (asked["time"], asked["array_parallelism"]) == (1440, 3)
    assert begin("runtime=cpu")["gpus_per_node"] is None
    more = begin("launcher.options={account: lab, constraint: a100}")["additional_parameters"]
    assert more == {"requeue": True, "account": "lab", "constraint": "a100", "signal": "USR2@90"}


def test_a_job_takes_no_more_than_its_cores(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Nor less: what srun starts has all of them."""
    script = tmp_path / "job.sh"
    show = "srun --output=out sh -c 'echo $OMP_NUM_THREADS $SLURM_CPUS_PER_TASK'"
    script.write_text("\n".join(["#!/bin/sh", *launching.OWN_CORES, show, ""]))
    job = cluster.submit(f"--chdir={tmp_path}", "--output=log", "--cpus-per-task=1", script)
    cluster.wait(job, "COMPLETED")
    assert (tmp_path / "out").read_text() == "1 1\n"


def test_a_line_of_the_queue_that_was_cut_short_is_passed_over(inside: None, tmp_path: Path) -> None:
    launcher = compose_run("config", CONF, ["experiment=toy", "launcher=slurm"]).launcher
    queue = launching._Queue(launcher, Store(tmp_path / "store"))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "queue.jsonl").write_text('\n{"job": "1", "steps": []}\n\n{"job": "2", "st')

    class Job:
        job_id = "3_0"

    queue._keep([launching._Task(Job(), [])])
    assert list(queue._lines()) == [{"job": "1", "steps": []}, {"job": "3_0", "steps": []}]


# --- what is refused ---


@pytest.mark.parametrize("absent", launching.PROGRAMS)
def test_a_machine_without_slurms_commands_is_named(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    for program in {*launching.PROGRAMS} - {absent}:
        path = shutil.which(program)
        assert path
        (tmp_path / program).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused("launcher=slurm").startswith(
        f"launcher=slurm: there is no {absent} here; run it where SLURM's commands are"
    )


def test_submitit_that_is_not_installed_is_named(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    said = "launcher=slurm: submitit is not installed; pip install 'im-bench[slurm]'"
    assert refused("launcher=slurm") == said


def test_a_controller_that_does_not_answer_is_named(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="Unable to contact slurm controller")

    monkeypatch.setattr(launching.subprocess, "run", away)
    said = "launcher=slurm: SLURM does not answer (Unable to contact slurm controller); see scontrol ping"
    assert refused("launcher=slurm") == said


@pytest.mark.slow
def test_a_partition_that_does_not_exist_is_named(sweep: Sweep) -> None:
    _, error = sweep.run(*SMALL, "launcher.partition=nowhere", code=2)
    (last,) = [line for line in error.splitlines() if line.startswith("im-bench: ")]
    assert "sbatch refuses (invalid partition specified: nowhere); see launcher.partition, " in last
    assert "Traceback" not in error
