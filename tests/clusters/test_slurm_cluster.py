"""What a cluster of the tests has, and that nothing of it is left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import NotStarted, SlurmCluster, SlurmMissing

pytestmark = pytest.mark.slow
ABSENT = slurm_cluster.missing()
needs_slurm = pytest.mark.skipif(
    ABSENT is not None and os.environ.get("IM_BENCH_REQUIRE_CLUSTERS") != "1", reason=str(ABSENT)
)

HERE = Path(__file__).parent
SOON = 30.0
"""Seconds in which what must happen has happened, on the slowest machine."""
Submit = Callable[..., str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def submit(cluster: SlurmCluster, tmp_path: Path) -> Submit:
    """Submits a line of shell, which runs in the test's folder; what it writes goes to a file named as the job."""

    def submit(line: str, *options: str) -> str:
        return cluster.submit(f"--chdir={tmp_path}", "--output=%j", *options, f"--wrap={line}")

    return submit


@needs_slurm
def test_an_array_runs_on_both_nodes(
    cluster: SlurmCluster, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    line = "echo $SLURMD_NODENAME $COLOUR > task$SLURM_ARRAY_TASK_ID"
    job = submit(f"{line}; until [ $(ls task? | wc -l) = 4 ]; do sleep 0.1; done", "--array=0-3")
    cluster.wait(job, "COMPLETED")
    written = Counter((tmp_path / f"task{task}").read_text() for task in range(4))
    assert written == {"node1 red\n": 2, "node2 red\n": 2}


@needs_slurm
def test_a_node_has_one_gpu(cluster: SlurmCluster, submit: Submit, tmp_path: Path) -> None:
    line = "srun echo ${CUDA_VISIBLE_DEVICES-none}; until [ -e go ]; do sleep 0.1; done"
    first, second = (submit(line, "--gpus-per-node=1", "--nodelist=node1") for _ in range(2))
    without = submit(line, "--nodelist=node1")
    cluster.wait(without, "RUNNING")
    assert (cluster.states(first), cluster.states(second)) == (["RUNNING"], ["PENDING"])
    (tmp_path / "go").touch()
    for job in (second, without):
        cluster.wait(job, "COMPLETED")
    assert [(tmp_path / job).read_text() for job in (first, second, without)] == ["0\n", "0\n", "none\n"]


@needs_slurm
@pytest.mark.parametrize("then", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_cluster_ends_with_all_its_processes(then: str, tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from slurm_cluster import SlurmCluster

with SlurmCluster(Path("cluster"), nodes=1) as cluster:
    cluster.wait(cluster.submit("--output=/dev/null", "--wrap=setsid sleep 99 & sleep 98"), "RUNNING")
    {then}
"""
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment)
    nothing_is_left_of(tmp_path / "cluster")


@needs_slurm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_beside_a_shell_ends_when_told(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "slurm_cluster.py"), str(tmp_path), "--nodes=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(f"export SLURM_CONF={tmp_path}/slurm.conf ")
        process.send_signal(number)
    nothing_is_left_of(tmp_path)


@needs_slurm
def test_a_cluster_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "slurmd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no such luck\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    with pytest.raises(NotStarted, match="(?s)A daemon has ended.*no such luck"), SlurmCluster(tmp_path):
        pass
    nothing_is_left_of(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_cluster, "PATH", str(tmp_path))
    with (
        pytest.raises(SlurmMissing, match="slurmctld.*: apt-get install slurm-wlm munge"),
        SlurmCluster(tmp_path),
    ):
        pass


def nothing_is_left_of(folder: Path) -> None:
    conf = folder / "slurm.conf"
    deadline = time.monotonic() + SOON
    [sockets] = re.findall("socket=(.*)/munge.socket", conf.read_text())
    while users_of(conf) or Path(sockets).exists():
        assert time.monotonic() < deadline, (users_of(conf), sockets)
        time.sleep(0.05)


def users_of(conf: Path) -> list[str]:
    """Processes to which this is the configuration of SLURM."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"SLURM_CONF={conf}\0" in (process / "environ").read_text(errors="ignore"):
                found.append((process / "cmdline").read_text())
    return found
