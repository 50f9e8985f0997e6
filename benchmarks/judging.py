"""What judging takes: a pass beside the ideal of its server, and a cell whose verdicts come beside its engine.

The server is one of our own on the loopback, in a process of its own, that speaks the chat protocol and answers after
a fixed time. A pass is AlpacaEval 2.0 over the 805 real instructions and answers of ../shared, from files to scores;
its ideal is 805 / concurrency * latency. It is the second in its process: the first imports what each needs.
A cell is an engine that is busy for so long as judging takes by itself (matrix products), with and without judging
beside it, through the thread and the process that a sweep uses; they are there before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import setting

from im_bench.progress import Progress

if TYPE_CHECKING:
    from im_bench.judges import Judges
    from im_bench.stages import Judging

INSTRUCTIONS = 805
PASS, ALONE, BESIDE = "pass", "engine alone", "engine and judge"


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(_serve(float(sys.argv[2])))
        return
    parser = setting.arguments(__doc__)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of a reply")
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_side(options)))
        return
    more = ("--latency", str(options.latency), "--concurrency", str(options.concurrency))
    found = setting.take_turns([PASS, ALONE, BESIDE], options, *more)
    ideal = INSTRUCTIONS / options.concurrency * options.latency
    seconds = {side: median(each["seconds"] for each in runs) for side, runs in found.items()}
    if options.json:
        print(json.dumps({"ideal": ideal, **seconds}))
        return
    print(f"| | seconds | ratio |\n|---|--:|--:|\n| {INSTRUCTIONS} verdicts, ideal | {ideal:.2f} | 1 |")
    print(f"| AlpacaEval 2.0, from files to scores | {seconds[PASS]:.2f} | {seconds[PASS] / ideal:.2f} |")
    print(f"| {ALONE} | {seconds[ALONE]:.2f} | 1 |")
    print(f"| {BESIDE} | {seconds[BESIDE]:.2f} | {seconds[BESIDE] / seconds[ALONE]:.2f} |")


def _side(options: Namespace) -> dict[str, float]:
    from im_bench.judges import Judges
    from im_bench.stages import Wires
    from im_bench.store import Store

    with (
        tempfile.TemporaryDirectory() as folder,
        _server(options.latency) as address,
        Judges(Store(Path(folder)), Progress()) as judges,
    ):
        work, wires = _judgings(options, Path(folder), address), Wires()
        judges.wire(wires)
        wires.judge(next(work))
        second, third = next(work), next(work)
        seconds = _timed(lambda: wires.judge(second))
        if options.side == PASS:
            return {"seconds": seconds}
        step = _busy(seconds)
        if options.side == ALONE:
            return {"seconds": _timed(step)}
        return {"seconds": _timed(lambda: _beside(step, judges, lambda: wires.judge(third)))}


def _judgings(options: Namespace, folder: Path, address: str) -> Iterator[Judging]:
    """The same judging again and again, each with a results folder of its own, so that nothing is kept."""
    from im_bench.composing import CONF, compose_run
    from im_bench.data.rows import read_rows, write_rows
    from im_bench.evaluation import alpaca_eval
    from im_bench.stages import Judging

    data = options.shared / "data" / "alpaca_eval"
    write_rows(folder / alpaca_eval.ANSWERS, read_rows(data / "model_outputs" / "vicuna-13b.jsonl"))
    references = data / "reference_outputs" / "gpt4_1106_preview.jsonl"
    judge = (
        "judge.model=some-model",
        f"judge.base_url={address}",
        f"judge.concurrency={options.concurrency}",
    )
    benchmark = ("benchmark=[alpaca_eval_2]", "benchmark.alpaca_eval_2.length_controlled=false")
    for number in count():
        out = folder / str(number)
        out.mkdir()
        run = compose_run("config", CONF, ["loss=none", *benchmark, *judge, f"paths.results={out}"])
        yield Judging(out, folder, run, "alpaca_eval_2", {"reference_outputs_v2": references})


def _busy(seconds: float) -> Callable[[], None]:
    """As many matrix products as take so long by themselves; they count, so that work beside them shows."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(256, 256)

    def work(count: int) -> None:
        for _ in range(count):
            torch.mm(matrix, matrix)

    work(1000)
    each = _timed(lambda: work(1000)) / 1000
    return lambda: work(round(seconds / each))


def _beside(step: Callable[[], None], judges: Judges, judge: Callable[[], None]) -> None:
    judges.then(judge)
    step()
    judges.finished()


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _server(latency: float) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


async def _serve(latency: float) -> None:
    """Answer every request with one token and its alternatives; for ten minutes at most."""
    alternatives = [{"token": "m", "logprob": -0.5}, {"token": "M", "logprob": -0.9}]
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": "m"},
        "logprobs": {"content": [alternatives[0] | {"top_logprobs": alternatives}]},
    }
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}
    completion = {"id": "c", "object": "chat.completion", "created": 0, "model": "some-model"}
    body = json.dumps(completion | {"choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                length = next(line for line in headers if line.startswith(b"content-length"))
                await reader.readexactly(int(length.split(b":")[1]))
                await asyncio.sleep(latency)
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    main()
