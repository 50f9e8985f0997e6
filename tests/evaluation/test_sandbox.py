"""What a program can do to the machine and to its verdict: nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache
from http import HTTPStatus
from pathlib import Path

import pytest

from im_bench.config import UserError
from im_bench.evaluation import sandbox
from im_bench.evaluation.jail.plain import Broken, NotPlain, pack, unpack
from im_bench.evaluation.sandbox import Kind, Outcome, Program, run_programs

TEST = "def check(candidate):\n    assert candidate(20) == 40\n    assert candidate([1]) == [1, 1]\n"
GOOD = "def f(x):\n    return 2 * x\n"


def outcome(code: str, test: str = TEST, *, cpu_seconds: float = 1, memory_mib: int = 256) -> Outcome:
    return run_programs([Program(code, test, "f")], cpu_seconds=cpu_seconds, memory_mib=memory_mib)[0]


WEAKER = [pytest.param(kind, marks=pytest.mark.slow) for kind in sandbox.KINDS[1:]]


@cache
def why_not(kind: Kind) -> str:
    """Why this machine does not have a confinement; empty where it has."""
    server = sandbox._Server(kind)
    try:
        return "" if server.outcome(sandbox.PROBE, sandbox._limits(10, 512)).passed else "the probe fails"
    except sandbox.Unavailable as error:
        return str(error)
    finally:
        server.close()


@pytest.fixture(params=[sandbox.KINDS[0], *WEAKER])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Every confinement this machine has, not only the strongest."""
    if missing := why_not(request.param):
        pytest.skip(missing)
    found = sandbox.Isolation(request.param, "")
    monkeypatch.setattr(sandbox, "isolation", lambda: found)
    return found.kind


def test_a_right_program_passes(kind: Kind) -> None:
    assert outcome(GOOD) == (True, "passed")


def test_wrong_programs_say_why(kind: Kind) -> None:
    assert outcome("def f(x): return x") == (False, "AssertionError")
    assert outcome("def g(x): return x") == (False, "NameError: name 'f' is not defined")
    assert outcome("def f(x) return x").reason.startswith("SyntaxError: ")
    assert outcome("def f(x): return 1 / 0") == (False, "ZeroDivisionError: division by zero")
    assert outcome("def f(x):\n yield x").passed is False


def test_a_program_must_define_its_function_even_if_the_test_calls_nothing() -> None:
    nothing = "def check(candidate): pass"
    assert outcome("1 / 0", nothing).passed is False
    assert outcome(GOOD, nothing).passed is True


HOSTILE = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "patient fork bomb": "import os\nwhile True:\n try: os.fork()\n except BaseException: pass",
    "shell": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'sleep 60 &'])",
    "detached process": "import os\nif os.fork() == 0:\n os.setsid()\n while True: pass",
    "thread bomb": "import threading\nwhile True: threading.Thread(target=input).start()",
    "memory bomb": "x = ['a']\nwhile True: x += x",
    "one large allocation": "x = bytearray(10**11)",
    "endless output": "while True: print('x' * 100000)",
    "endless errors": "import os\nwhile True: os.write(2, b'x' * 100000)",
    "endless loop": "while True: pass",
    "endless catching": "while True:\n try:\n  while True: 1\n except BaseException: pass",
    "large file": "with open('x', 'w') as file:\n while True: file.write('x' * 10**6)",
    "password file": "users = open('/etc/passwd').read()",
    "home": "import os\nassert os.path.basename(SECRET) in os.listdir(HOME)",
    "file of the home": "found = open(SECRET).read()",
    "writing outside": "open(OUTSIDE, 'w').write('x')",
    "writing into the library": "import os\nopen(os.path.dirname(os.__file__) + '/left.py', 'w').write('x')",
    "deleting outside": "import os\nos.remove(SECRET)",
    "environment": "import os\nassert os.environ",
    "secrets of other processes": "x = open('/proc/self/environ').read() + open(f'/proc/1/environ').read()",
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=1)",
    "local socket": "import socket\nsocket.socketpair()",
    "download": "import urllib.request as web\nweb.urlopen('http://127.0.0.1:PORT', timeout=1)",
    "killing the parent": "import os\nos.kill(os.getppid(), 9)",
    "killing everybody": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "killing by number": "import os\nos.kill(PROCESS, 9)",
    "ignoring signals": "import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n"
    " except (OSError, ValueError): pass\nwhile True: pass",
    "leaving": "import os\nos._exit(0)",
    "leaving politely": "import sys\nsys.exit(0)",
    "leaving when called": "import os\ndef f(x): os._exit(0)",
    "endless recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "reading input": "input()",
}


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What hostile programs aim at: a folder, a file in the home, a listening port, a process."""
    secret = Path.home() / f".im-bench-test-{os.getpid()}"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "60"]) as bystander:
        server.setblocking(False)
        yield {
            "HOME": repr(str(Path.home())),
            "SECRET": repr(str(secret)),
            "OUTSIDE": repr(str(tmp_path / "left")),
            "PORT": str(server.getsockname()[1]),
            "PROCESS": str(bystander.pid),
        }
        with pytest.raises(BlockingIOError):
            server.accept()
        assert bystander.poll() is None
        bystander.kill()
    assert secret.read_text() == "secret"
    secret.unlink()
    assert list(tmp_path.iterdir()) == []


BUSY = {
    "patient fork bomb",
    "endless output",
    "endless errors",
    "endless catching",
    "ignoring signals",
    "crash",
}
"""They end by their CPU time, a second."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in BUSY else n for n in HOSTILE]
)
def test_hostile_programs_fail_and_leave_nothing(name: str, kind: Kind, places: dict[str, str]) -> None:
    code = GOOD + HOSTILE[name]
    for word, place in places.items():
        code = code.replace(word, place)
    start = time.monotonic()
    result = outcome(code)
    assert not result.passed, result
    assert name not in BUSY or result.reason == "more than 1 s of CPU time"
    assert time.monotonic() - start < 5
    assert processes() == set()


def processes() -> set[str]:
    """Our sandbox's processes, by number: a forked program keeps the command line of its server.

    Ours come from this process, or have lost the one they came from; another's, who runs programs beside
    this test, are none of our affair.
    """
    parents, jailed = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = re.findall(r"PPid:\s+(\d+)", (folder / "status").read_text())[0]
            if b"im_bench.evaluation.jail" in (folder / "cmdline").read_bytes():
                jailed.add(folder.name)
        except OSError:  # it has just ended
            continue

    def ours(process: str) -> bool:
        line = []
        while (process := parents.get(process, "0")) not in ("0", "1"):
            line.append(process)
        return str(os.getpid()) in line or jailed.issuperset(line)

    return {process for process in jailed if ours(process)}


EQUAL = "\n def __eq__(self, other): return True\n"
ON_EVERY_DESCRIPTOR = """
import os, struct
for d in range(256):
    try: os.write(d, struct.pack('<I', len(m)) + m)
    except OSError: pass
def f(x): pass
"""
FORGERIES = {
    "an object equal to everything": f"class Any:{EQUAL}def f(x): return Any()",
    "a number equal to everything": f"class Any(int):{EQUAL}def f(x): return Any(1)",
    "a list equal to everything": f"class Any(list):{EQUAL}def f(x): return Any()",
    "AssertionError that is none": "import builtins\nbuiltins.AssertionError = type(None)\ndef f(x): pass",
    "no assertions": "import builtins\nbuiltins.check = lambda f: None\ndef f(x): pass",
    "saying it": "print('passed')\ndef f(x): print('passed')",
    "saying it on every descriptor": "import pickle\nm = pickle.dumps((False, (True, 'passed')), 4)\n"
    + ON_EVERY_DESCRIPTOR,
    "code in a message": "class Call:\n def __reduce__(self): return (exec, ('import os; os._exit(0)',))\n"
    "def f(x): return Call()",
    "code in a message written by hand": "m = b'vcposix\\n_exit\\n(I0\\ntR.'" + ON_EVERY_DESCRIPTOR,
    "catching everything": "def f(x):\n try: raise SystemExit\n except BaseException: return None",
    "an error that lies": "class E(BaseException):\n def __str__(self): raise E\ndef f(x): raise E",
    "callers": "import sys\ndef f(x):\n frame = sys._getframe()\n while frame:\n"
    "  if 'assert' + ' candidate' in str(frame.f_locals): return 2 * x\n  frame = frame.f_back",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_verdict_cannot_be_forged(name: str, kind: Kind) -> None:
    assert not outcome(FORGERIES[name]).passed


def test_the_test_is_not_among_the_objects_of_the_program(kind: Kind) -> None:
    spy = """
import gc
word = "kum" + "quat"
def f(x):
    for thing in gc.get_objects():
        for inner in gc.get_referents(thing):
            if inner is not word and isinstance(inner, (str, bytes)) and word in str(inner):
                return word
"""
    test = "def check(candidate):\n    assert candidate(1) == 'kumquat'\n"
    programs = [
        Program(f"{spy}# {trial}", test, "f") for trial in range(2)
    ]  # the second time, the server had its test
    outcomes = run_programs(programs, cpu_seconds=5, memory_mib=256, workers=1)
    assert outcomes == [(False, "AssertionError")] * 2


def test_what_passes_is_plain_data() -> None:
    values = [
        None,
        True,
        3,
        10**5000,
        2.5,
        1j,
        "x",
        "\ud800",
        b"x",
        [1, [2]],
        (1,),
        {1, 2},
        frozenset({1}),
        {"a": [1]},
    ]
    for value in [*values, range(3), float("inf"), Fraction(1, 3), Decimal("0.1")]:
        again = unpack(pack(value))
        assert again == value
        assert type(again) is type(value)
    with pytest.raises(NotPlain, match="a function is not plain data"):
        pack([outcome])
    with pytest.raises(Broken):
        unpack(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Broken):
        unpack(b"not a message")


def test_subclasses_arrive_as_what_they_extend() -> None:
    arrived = unpack(pack([Outcome(True, "x"), Counter("aab"), OrderedDict(a=1), HTTPStatus.OK]))
    assert arrived == [(True, "x"), {"a": 2, "b": 1}, {"a": 1}, 200]
    assert [type(value) for value in arrived] == [tuple, dict, dict, int]


def test_an_iterator_arrives_as_one() -> None:
    test = "def check(c):\n r = c(2)\n assert r != [2, 4]\n assert list(r) == [2, 4]\n assert list(r) == []\n"
    assert outcome("def f(x): return map(lambda y: y * x, [1, 2])", test).passed


def test_what_the_test_needs_is_set_up_beside_it() -> None:
    program = Program(
        "def f(x): return x", "def check(c): assert c(3) == same(3)", "f", "def same(x): return x"
    )
    assert run_programs([program], cpu_seconds=1, memory_mib=256)[0].passed


def test_a_program_that_sleeps_ends_by_the_clock(kind: Kind) -> None:
    result = outcome("import time\ntime.sleep(10**6)", cpu_seconds=0.1)
    assert result == (False, "no end within 1 s")
    assert processes() == set()


def test_cpu_time_is_measured_below_a_second() -> None:
    busy = "import time\ndef f(x):\n while time.process_time() < 0.3: pass\n return 2 * x"
    assert outcome(busy, cpu_seconds=0.2) == (False, "more than 0.2 s of CPU time")
    assert outcome(busy, cpu_seconds=0.8).passed


def test_the_private_folder_can_be_used(kind: Kind) -> None:
    code = """
import os
def f(x):
    open('a', 'w').write('x')
    assert os.listdir() == ['a']
    os.mkdir('b')
    os.rename('a', 'b/a')
    os.remove('b/a')
    os.rmdir('b')
    return 2 * x
"""
    assert outcome(code).passed


def test_programs_do_not_see_each_other(kind: Kind) -> None:
    leave = "import random, sys\nsys.leak = 1\nrandom.seed(5)\nopen('left', 'w').write('x')\n" + GOOD
    look = "import os, sys\nassert not hasattr(sys, 'leak') and os.listdir() == []\n" + GOOD
    outcomes = run_programs(
        [Program(code, TEST, "f") for code in (leave, look)], cpu_seconds=1, memory_mib=256, workers=1
    )
    assert outcomes == [(True, "passed")] * 2


def test_verdicts_do_not_depend_on_hash_seeds_or_random_draws() -> None:
    code = "import random\ndef f(x): return [random.random(), list({'a', 'b', 'c', 'd', 'e'})]"
    test = "def check(c): assert False, c(1)"
    assert len({outcome(code + f" # {trial}", test).reason for trial in range(3)}) == 1


def test_equal_programs_run_once_and_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    whole = sandbox._Server.outcome
    monkeypatch.setattr(
        sandbox._Server,
        "outcome",
        lambda self, program, limits: runs.append(program) or whole(self, program, limits),
    )
    right, wrong = Program(GOOD, TEST, "f"), Program("def f(x): return 0", TEST, "f")
    sandbox.isolation()
    runs.clear()
    outcomes = run_programs([right, wrong, right, right, wrong], cpu_seconds=1, memory_mib=256)
    assert [result.passed for result in outcomes] == [True, False, True, True, False]
    assert len(runs) == 2


def test_no_program_is_no_work() -> None:
    assert run_programs([], cpu_seconds=1, memory_mib=256) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_interpreters_end_with_the_process_that_asked(end: signal.Signals, kind: Kind) -> None:
    code = (
        f"from im_bench.evaluation import sandbox as s; s.KINDS = ({kind!r},)\n"
        "programs = [s.Program(f'while {n}: pass', '', 'f') for n in (1, 2)]\n"
        "s.run_programs(programs, cpu_seconds=60, memory_mib=256, workers=2)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as asker:
        until(lambda: len(processes()) >= 6)  # a server, a program and a checker, twice
        asker.send_signal(end)
        asker.wait(timeout=5)
    until(lambda: not processes())


def test_a_program_in_its_own_namespaces_sees_an_empty_system() -> None:
    if sandbox.isolation().kind != "namespaces":
        pytest.skip(sandbox.isolation().missing)
    code = (
        "import os\ndef f(x): return [os.getpid(), os.getuid(), os.listdir('/tmp'), os.path.exists('/etc')]"
    )
    assert outcome(code, "def check(c): assert c(0) == [1, 65534, [], False]").passed


HOOKED = [
    "open('/etc/passwd')",
    "open({left!r}, 'w')",
    "open('../left', 'w')",
    "os.open(os.path.dirname(os.__file__), os.O_RDONLY)",
    "os.listdir('/')",
    "os.remove({left!r})",
    "os.rename('own', {left!r})",
    "os.symlink('/etc', 'etc')",
    "os.chdir('/')",
    "os.chmod('own', 0)",
    "os.system('true')",
    "os.fork()",
    "os.kill(os.getppid(), 0)",
    "os.execv('/bin/true', ['true'])",
    "__import__('ctypes').CDLL(None).getpid()",
    "__import__('subprocess').run(['true'])",
    "__import__('socket').socket()",
    "__import__('sqlite3').connect({left!r})",
]


@pytest.mark.parametrize("action", HOOKED)
def test_the_hook_alone_keeps_python_code_in(action: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    code = (
        "import os; from im_bench.evaluation.jail.audit import keep_out\n"
        f"os.chdir({str(own)!r}); keep_out('.')\n"
        "open('own', 'w').close(); import wave, colorsys; open(os.__file__).close()\n"
        f"try: {action.format(left=str(tmp_path / 'left'))}\n"
        "except PermissionError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("is not allowed here\n"), done.stderr
    assert os.listdir(tmp_path) == ["own"]


def test_a_machine_that_cannot_run_programs_is_told_apart_from_bad_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "START", "raise SystemExit")
    sandbox.isolation.cache_clear()
    with pytest.raises(
        UserError, match="cannot run model-written programs .*audit: its interpreter does not start"
    ):
        run_programs([Program(GOOD, TEST, "f")], cpu_seconds=1, memory_mib=256)


def test_the_interpreters_load_no_package() -> None:
    code = "import sys, im_bench.evaluation.jail.server; print(*sys.modules)"
    root = Path(sandbox.__file__).parents[2]
    listed = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    tops = {name.split(".")[0] for name in listed.stdout.split()}
    assert tops - sys.stdlib_module_names - {"im_bench", "__main__"} == set()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
