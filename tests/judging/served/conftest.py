"""A judge behind the chat completions protocol, against a real HTTP server on the loopback."""

from collections.abc import Callable

import pytest
from judge_server import JudgeServer
from served_judge import KEY, spec_at
from tenacity import wait_random_exponential

from im_bench.judging import api, open_judge
from im_bench.judging.judge import Judge


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", KEY)
    # A proxy would be asked even for the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Between two tries there is a 25th of the time."""
    monkeypatch.setattr(
        api, "wait_random_exponential", lambda multiplier, max: wait_random_exponential(multiplier / 25, max)
    )


@pytest.fixture
def open_at(tmp_path) -> Callable[..., Judge]:
    """Opens a judge at a server, with verdicts in the test's own folder."""

    def opened(server: JudgeServer, **changes: object) -> Judge:
        wires = {name: changes.pop(name) for name in ("tokens", "follow", "stop") if name in changes}
        return open_judge(spec_at(server.url, **changes), tmp_path, **wires)

    return opened
