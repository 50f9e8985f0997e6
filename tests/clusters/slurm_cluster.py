"""A SLURM cluster on this machine: a controller, and nodes with CPUs and a GPU that is none.

In a test it is a context manager; beside a shell it runs until Ctrl-C or SIGTERM:

    python tests/clusters/slurm_cluster.py FOLDER

Nothing of it is outside FOLDER, a folder of sockets in /tmp and ports on the loopback. Two partitions have the same
nodes, `main` and `urgent`; a job in `urgent` preempts those in `main`, which go back into the queue.

What takes its time, and what shortens it:

- A job that was requeued or preempted is eligible again a second after REQUEUE_DELAY, which is `cred_expire` of
  slurm.conf, and no less is taken. To have it begin sooner is to risk that its first processes have not ended yet.
- Whether a job is beyond its limit of time, or near enough to it for its --signal, is looked at every 30 seconds.
  `scontrol update jobid=N endtime=now+1` moves the limit, and `scancel --signal=USR2 N` is the signal without the wait
  (of the steps; --batch has it go to the script).
- `scontrol update nodename=node1 state=down reason=test` is a node that fails, and its jobs go back into the queue;
  `state=drain` lets them end. After both, `state=resume`.
- There is no accounting, so sacct knows nothing. `scontrol show job` knows a job until five minutes after its end.
"""

import argparse
import ctypes
import getpass
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "srun")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Debian keeps daemons where the shell of an ordinary user does not look."""
START_TIMEOUT = 30.0
REQUEUE_DELAY = 5
ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
PR_SET_CHILD_SUBREAPER = 36

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={sockets}/munge.socket,cred_expire={requeue_delay}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={sockets}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldSyslogDebug=quiet
SlurmdSyslogDebug=quiet
JobCompType=jobcomp/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
MinJobAge=300
SlurmdTimeout=10
SlurmdParameters=config_overrides
ReturnToService=1
{nodes}
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
PartitionName=main Nodes=ALL PriorityTier=1 Default=YES
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=16000 Gres=gpu:1"
GRES = "Name=gpu File=/dev/null\n"
"""SLURM drops a GPU without a device. A job that asks for it has CUDA_VISIBLE_DEVICES=0, and others have none."""


class SlurmMissing(RuntimeError):
    """Programs that a cluster needs are not installed."""


class NotStarted(RuntimeError):
    """With the ends of the logs."""


def missing() -> str | None:
    """Why there can be no cluster here."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    return f"{', '.join(absent)} not found: apt-get install slurm-wlm munge" if absent else None


class SlurmCluster:
    """A cluster while it is entered, with the nodes `node1`, `node2`, ...

    It is a process of its own, which ends every process of the cluster when it is left, or when the one that entered it
    is no more.

    Args:
        folder: gets the configuration, logs and the controller's state; another cluster's remains there do no harm.
        cpus: of each node; the machine may have fewer.
    """

    def __init__(self, folder: Path, *, nodes: int = 2, cpus: int = 2):
        self.folder = folder.resolve()
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        """What a client needs to have, be it sbatch or submitit, to use this cluster."""
        options = [f"--nodes={nodes}", f"--cpus={cpus}", "--stdin"]
        self._command = [sys.executable, __file__, str(self.folder), *options]

    def __enter__(self) -> Self:
        if reason := missing():
            raise SlurmMissing(reason)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C ends the test before its cluster
        )
        assert self._process.stdout
        try:
            started = self._process.stdout.readline()
        except BaseException:
            self._process.communicate()
            raise
        if not started:
            raise NotStarted(self._process.communicate()[1].strip())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def run(self, *command: str | Path) -> str:
        """What a client writes; where it fails, what it complains of is the error."""
        environment = os.environ | self.environment
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def control(self, *command: str) -> str:
        return self.run("scontrol", *command)

    def submit(self, *arguments: str | Path) -> str:
        """The number of a new job, or array."""
        return self.run("sbatch", "--parsable", *arguments)

    def jobs(self, job: str) -> list[dict[str, str]]:
        """A job's JobState, ExitCode, Restarts, NodeList, ...; of an array those of each task, or of all that wait."""
        lines = self.control("show", "job", "--oneliner", job).splitlines()
        known = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return sorted(known, key=lambda about: int(re.split("[-,%]", about.get("ArrayTaskId", "0"))[0]))

    def states(self, job: str) -> list[str]:
        return [about["JobState"] for about in self.jobs(job)]

    def wait(self, job: str, *states: str, timeout: float = 60.0) -> None:
        """Return when the job, or each task of the array, is in one of `states`, or at its end where none is given."""
        deadline = time.monotonic() + timeout
        while not set(now := self.states(job)) <= (set(states) or ENDS):
            if time.monotonic() > deadline or (states and set(now) <= ENDS):
                reasons = {about["Reason"] for about in self.jobs(job)}
                raise TimeoutError(
                    f"Job {job} is not {' or '.join(states) or 'at its end'}: {now}, {reasons}"
                )
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description="A SLURM cluster on this machine, until Ctrl-C or SIGTERM.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="of each node")
    parser.add_argument("--stdin", action="store_true", help="end with the standard input, too")
    given = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    # Whatever a daemon or a job leaves behind becomes a child of this process, and is ended with it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A socket's path has 107 bytes at most, and munged wants its own to be within everybody's reach.
    sockets = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    sockets.chmod(0o711)
    try:
        conf = write_conf(given.folder.resolve(), sockets, given)
        start(conf.parent, sockets, nodes=given.nodes)
        print(f"export SLURM_CONF={conf}  # Ctrl-C, or kill {os.getpid()}, ends the cluster", flush=True)
        while not select.select([sys.stdin] if given.stdin else [], [], [], 0.1)[0]:
            reap()
    except NotStarted as error:
        sys.exit(str(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_children()
        shutil.rmtree(sockets)


def write_conf(folder: Path, sockets: Path, given: argparse.Namespace) -> Path:
    (folder / "state").mkdir(parents=True, exist_ok=True)
    port, *ports = free_ports(1 + given.nodes)
    host = socket.gethostname().split(".")[0]
    nodes = [
        NODE.format(name=f"node{number}", host=host, port=port, cpus=given.cpus)
        for number, port in enumerate(ports, start=1)
    ]
    text = CONF.format(
        host=host,
        port=port,
        user=getpass.getuser(),
        folder=folder,
        sockets=sockets,
        requeue_delay=REQUEUE_DELAY,
        nodes="\n".join(nodes),
    )
    (folder / "gres.conf").write_text(GRES)
    conf = folder / "slurm.conf"
    conf.write_text(text)
    return conf


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def start(folder: Path, sockets: Path, *, nodes: int) -> None:
    """Return when every node is idle."""
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    deadline = time.monotonic() + START_TIMEOUT
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(64))
    files = {"key-file": key, "pid-file": folder / "munged.pid", "seed-file": folder / "munged.seed"}
    options = [f"--{option}={path}" for option, path in files.items()]
    spawn(folder / "munged.out", "munged", "--foreground", f"--socket={sockets}/munge.socket", *options)
    while not (sockets / "munge.socket").exists():
        wait_a_little(folder, deadline, "munged has no socket")
    spawn(folder / "slurmctld.out", "slurmctld", "-D", "-c")
    for number in range(1, nodes + 1):
        (sockets / f"node{number}").mkdir()
        spawn(folder / f"node{number}.out", "slurmd", "-D", "-N", f"node{number}")
    while (states := node_states()) != ["idle"] * nodes:
        wait_a_little(folder, deadline, f"the nodes are {states or 'not known to the controller'}")


def spawn(output: Path, program: str, *arguments: str) -> None:
    path = shutil.which(program, path=PATH)
    assert path
    with output.open("w") as file:
        to_file = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number in (1, 2)]
        os.posix_spawn(path, [path, *arguments], os.environ, file_actions=to_file, setsid=True)


def node_states() -> list[str]:
    """Empty as long as the controller does not answer."""
    command = ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def wait_a_little(folder: Path, deadline: float, complaint: str) -> None:
    ended = reap()
    if ended or time.monotonic() > deadline:
        first = "A daemon has ended" if ended else f"After {START_TIMEOUT:g} seconds {complaint}"
        outputs = sorted(folder.glob("*.out"))
        tails = ["\n".join([f"{path}:", *path.read_text().splitlines()[-15:]]) for path in outputs]
        raise NotStarted("\n\n".join([f"{first}.", *tails]))
    time.sleep(0.05)


def reap() -> bool:
    """Whether a child has ended."""
    try:
        return bool(os.waitpid(-1, os.WNOHANG)[0])
    except ChildProcessError:
        return True


def end_children() -> None:
    """Kill the children of this process, then theirs, which thereby have become its own, until there are none."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text().split():
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)
        os.wait()


if __name__ == "__main__":
    main()
