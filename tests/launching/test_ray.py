"""Ray for real: two machines on this one, tasks and machines that die, and what is refused."""

import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_sweep import IM, IT, ONE_FAILED, SMALL, Sweep, costs_its_own_cell, ended, wait_until

from im_bench.composing import CONF, compose_run
from im_bench.config import UserError
from im_bench.launching import Chain
from im_bench.launching import ray as launching

# Read when Ray is imported: everything is on the loopback.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

if find_spec("ray") is None and os.environ.get("IM_BENCH_REQUIRE_CLUSTERS") != "1":
    pytest.skip("ray is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own are not ours to mend
ON_CPU = tuple(f"launcher.resources.{stage}.cpus=1" for stage in ("train", "score", "judge"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with a CPU and a GPU that is none."""
    from ray.cluster_utils import Cluster

    has = {"num_cpus": 1, "num_gpus": 1, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**has, "include_dashboard": False})
    cluster.add_node(**has)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def sweep(cluster: Any, file: Path, tmp_path: Path) -> Sweep:
    launcher = ("launcher=ray", f"launcher.address={cluster.address}", *ON_CPU)
    return Sweep(file, tmp_path / "results", launcher)


def machine(process: int) -> int:
    """That of a task: the process that started all those of one machine."""
    return psutil.Process(process).ppid()


def machines(sweep: Sweep) -> set[int]:
    """Where steps run now."""
    found = set()
    for place in sweep.places():
        with suppress(psutil.NoSuchProcess):
            found.add(machine(int(place.split(", ")[1].removeprefix("process "))))
    return found


@pytest.mark.slow
def test_a_sweep_uses_all_machines_and_comes_to_what_this_one_alone_comes_to(
    sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    watched = sweep.watched(lambda: machines(sweep))
    assert len(watched.machines) == 2
    train = f"train/local-sums-full-it-seed0-{sweep.step('train', *SMALL, IT).key}"
    assert f"running: {train}, " in watched.status
    assert ", Ray job 0" in watched.status
    assert ", on 2 machines\n" in watched.error
    base = sweep.step("base", *SMALL).name
    assert f"\n{base}\n1 of 9 steps ended: {base}\n" in watched.error
    assert re.search(r"\n9 of 9 steps ended: verdicts/\S+\n", watched.error)
    assert sweep.outcome == undisturbed
    assert sweep.run(*SMALL)[1] == "every step is done\n"


@pytest.mark.nightly
def test_all_cells_come_to_what_this_machine_alone_comes_to(
    sweep: Sweep, all_undisturbed: dict[str, str]
) -> None:
    sweep.run()
    assert sweep.outcome == all_undisturbed


@pytest.mark.nightly
def test_a_task_that_is_killed_costs_its_own_cell_and_the_same_command_makes_up_for_it(
    sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    sweep.kill(train)
    costs_its_own_cell(process, sweep, train, "its process or machine is gone: ")
    sweep.run(*SMALL)
    assert sweep.outcome == undisturbed


@pytest.mark.nightly
def test_a_machine_that_is_gone_costs_what_it_did_and_the_same_command_makes_up_for_it(
    cluster: Any, sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process = sweep.start(*SMALL)
    (node,) = cluster.worker_nodes
    raylet = node.all_processes["raylet"][0].process.pid
    lost = [sweep.step("train", *SMALL, loss) for loss in (IT, IM)]

    def there() -> bool:
        return raylet in machines(sweep) and all(sweep.store.locked(step) for step in lost)

    wait_until(there)
    cluster.remove_node(node, allow_graceful=False)
    try:
        _, error = ended(process, 1)
        assert "its process or machine is gone: " in error
        assert error.endswith(ONE_FAILED)
        assert sorted(sweep.store.state(step).name for step in lost) == ["done", "failed"]
        sweep.run(*SMALL)  # on the machine that is left
        assert sweep.outcome == undisturbed
    finally:
        cluster.add_node(num_cpus=1, num_gpus=1, node_ip_address="127.0.0.1")


@pytest.mark.nightly
def test_an_interruption_cancels_what_runs_and_keeps_what_is_done(
    sweep: Sweep, undisturbed: dict[str, str]
) -> None:
    process, train = sweep.start(*SMALL), sweep.step("train", *SMALL, IT)
    engine = sweep.maker(train)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = ended(process, 130)
    assert time.monotonic() - begin < 15
    assert error.endswith("im-bench: interrupted; the same command goes on from here\n")
    wait_until(lambda: not sweep.store.locked(train) and not psutil.pid_exists(engine))
    assert sweep.store.done(sweep.step("base", *SMALL))
    sweep.run(*SMALL)
    assert sweep.outcome == undisturbed


@pytest.mark.slow
def test_this_machine_is_a_cluster_of_one_that_nobody_else_reaches(sweep: Sweep, tmp_path: Path) -> None:
    """Although another runs here."""
    alone = Sweep(sweep.file, tmp_path / "results", ("launcher=ray", *ON_CPU))
    process = alone.start(*SMALL)
    alone.maker(alone.step("base", *SMALL))
    reachable = {
        each.laddr.ip.removeprefix("::ffff:")
        for child in psutil.Process(process.pid).children(recursive=True)
        for each in child.net_connections()
        if each.status == psutil.CONN_LISTEN
    }
    process.send_signal(signal.SIGTERM)
    _, error = ended(process, 143)
    assert "Ray job 01000000, on 1 machine\n" in error
    assert error.endswith("im-bench: terminated; the same command goes on from here\n")
    assert reachable and reachable <= {"127.0.0.1", "::1"}


# --- what a task gets ---


def tasks(*overrides: str) -> tuple[Any, Chain]:
    """Of a GPU's cell, without Ray."""
    run = compose_run("config", CONF, ["experiment=toy", "runtime=gpu", "launcher=ray", *overrides])
    tasks = launching._Tasks.__new__(launching._Tasks)
    tasks._launcher = run.launcher
    return tasks, Chain("small", run, lambda: pytest.fail("nothing is planned again"), ())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {"num_gpus": 1, "num_cpus": 4, "memory": None}),
        (("launcher.resources.score.gpus=0.5",), {"num_gpus": 0.5, "num_cpus": 4, "memory": None}),
        (("launcher.resources.score.gpus=2",), {"num_gpus": 2, "num_cpus": 4, "memory": None}),
        (("runtime=cpu",), {"num_gpus": 0, "num_cpus": 4, "memory": None}),
        (("launcher.resources.score.memory_gb=1.5",), {"num_gpus": 1, "num_cpus": 4, "memory": 1.5e9}),
    ],
)
def test_a_task_gets_what_was_asked_for_its_stage(
    overrides: tuple[str, ...], expected: dict[str, Any]
) -> None:
    asking, chain = tasks(*overrides)
    assert asking._options(chain, "score") == expected
    assert asking._options(chain, "judge")["num_gpus"] == 0


def test_more_than_one_gpu_is_whole_ones() -> None:
    with pytest.raises(
        UserError, match=r"launcher.resources.train.gpus=1.5: a job shares one GPU, or has several"
    ):
        tasks("launcher.resources.train.gpus=1.5")


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[Any]:
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_two_tasks_share_a_gpu_and_each_has_the_threads_of_its_cores(connected: Any) -> None:
    def seen(seconds: float = 0) -> tuple[int, str | None, str | None, float, float]:
        begin = time.time()
        time.sleep(seconds)
        variables = (os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"))
        return os.getppid(), *variables, begin, time.time()  # type: ignore[return-value]

    look = connected.remote(max_calls=1)(seen)
    quarter = look.options(num_gpus=0.5, num_cpus=0.25)
    found = connected.get([quarter.remote(2) for _ in range(4)])
    assert [(gpu, threads) for _, gpu, threads, _, _ in found] == [("0", "1")] * 4
    assert max(begin for *_, begin, _ in found) < min(end for *_, end in found)  # all at once, on two GPUs
    assert sorted(Counter(machine for machine, *_ in found).values()) == [2, 2]
    (_, gpu, threads, _, _) = connected.get(look.options(num_gpus=0, num_cpus=1).remote())
    assert (gpu or "", threads) == ("", "1")


class Machines:
    """A Ray that has these machines, and no more."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._nodes = [{"Alive": True, "Resources": each} for each in resources]
        self._nodes.append({"Alive": False, "Resources": {"GPU": 64, "CPU": 64}})

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


@pytest.mark.parametrize("key", ["gpus=2", "cpus=5", "memory_gb=9"])
def test_more_than_this_machine_has_is_refused_with_the_key_and_the_remedy(key: str) -> None:
    asking, chain = tasks(f"launcher.resources.train.{key}")
    asking._ray = Machines({"GPU": 1.0, "CPU": 4.0, "memory": 8e9})
    with pytest.raises(UserError) as error:
        asking._check_room("train", asking._options(chain, "train"))
    most = {"gpus": 1, "cpus": 4, "memory_gb": 8}[key.partition("=")[0]]
    assert str(error.value) == (
        f"launcher.resources.train.{key}: Ray has {most} here; ask for fewer, or give launcher.address of a cluster"
    )


def test_a_cluster_may_get_the_machine_that_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """Two machines of one GPU have no room for a task of two."""
    asking, chain = tasks("launcher.resources.train.gpus=2", "launcher.address=auto")
    asking._ray = Machines({"GPU": 1.0, "CPU": 4.0}, {"GPU": 1.0, "CPU": 4.0})
    asking._check_room("train", asking._options(chain, "train"))
    assert caplog.messages == [
        "launcher.resources.train.gpus=2: no machine of the cluster has more than 1; jobs wait for one"
    ]


def test_a_task_has_the_keys_of_its_judge_and_what_the_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A_JUDGES_KEY", "HF_TOKEN", "WANDB_MODE", "CUDA_VISIBLE_DEVICES", "PATH"):
        monkeypatch.setenv(name, name.lower())
    _, chain = tasks("judge=openai", "judge.model=one", "judge.api_key_env=A_JUDGES_KEY")
    passed = launching._environment(chain.run)
    assert {"A_JUDGES_KEY", "HF_TOKEN", "WANDB_MODE"} <= set(passed)
    assert not {"CUDA_VISIBLE_DEVICES", "PATH"} & set(passed)


# --- what is refused ---


def test_ray_that_is_not_installed_is_named(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = "launcher=ray: Ray is not installed; pip install 'im-bench[ray]'"
    assert refused("launcher=ray") == said


@pytest.mark.parametrize("named", ["HOST:PORT", "auto"])
def test_an_address_where_nobody_answers_is_named_at_once(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    start = time.monotonic()
    named = address if named == "HOST:PORT" else named
    said = refused("launcher=ray", f"launcher.address={named}")
    assert re.match(f"launcher.address={named}: no Ray cluster answers .*Connection refused", said)
    assert time.monotonic() - start < 15


def test_an_address_where_another_listens_is_named_in_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launching, "ASKED", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = refused("launcher=ray", f"launcher.address={address}")
    assert said == (
        f"launcher.address={address}: no Ray cluster answers (what listens at {address} does not speak as one; its "
        "port is the one of ray start, usually 6379); start one with ray start --head, or leave it null to use "
        "this machine"
    )
    assert capfd.readouterr() == ("", "")
