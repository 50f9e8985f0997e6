"""What judging takes: a pass beside the ideal of its server, and a cell whose verdicts come beside its engine.

The server is one of our own on the loopback, in a process of its own, that speaks the chat protocol and answers after
a fixed time. A pass is AlpacaEval 2.0 over the 805 real instructions and answers of ../shared, from files to scores;
its ideal is 805 / concurrency * latency. It is the second in its process: the first imports what each needs.
A cell is an engine that is busy for so long as judging takes by itself (matrix products), with and without judging
beside it, each in a process as a sweep has them; they are there before the clock starts.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event
from typing import TYPE_CHECKING, Any

import setting

if TYPE_CHECKING:
    from im_bench.config import Run

INSTRUCTIONS = 805
NAME = "alpaca_eval_2"
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
    from im_bench.work import Quiet, make_ready
    from im_bench.worker import Worker

    with (
        tempfile.TemporaryDirectory() as folder,
        _server(options.latency) as address,
        closing(Worker(0.0)) as judge,
        closing(Worker(0.0)) as engine,
        ThreadPoolExecutor(1) as beside,
    ):
        first, second, third = (_judging(options, Path(folder) / name, address) for name in "abc")

        def asked(judging: Callable[..., None]) -> None:
            judge.do(judging, Quiet(), Event())

        def computed(products: int) -> None:
            engine.do(partial(_products, products), Quiet(), Event())

        judge.do(partial(make_ready, [NAME]), Quiet(), Event())
        asked(first)
        seconds = _timed(lambda: asked(second))
        if options.side == PASS:
            return {"seconds": seconds}
        computed(1000)
        products = round(1000 * seconds / _timed(lambda: computed(1000)))
        if options.side == ALONE:
            return {"seconds": _timed(lambda: computed(products))}

        def both() -> None:
            verdicts = beside.submit(asked, third)
            computed(products)
            verdicts.result()

        return {"seconds": _timed(both)}


def _judging(options: Namespace, results: Path, address: str) -> Callable[..., None]:
    """The same judging again and again, each with a results folder of its own, so that nothing is kept."""
    from im_bench.composing import CONF, compose_run
    from im_bench.data.rows import read_rows, write_rows
    from im_bench.evaluation import alpaca_eval

    data = options.shared / "data" / "alpaca_eval"
    results.mkdir()
    write_rows(results / alpaca_eval.ANSWERS, read_rows(data / "model_outputs" / "vicuna-13b.jsonl"))
    judge = (
        "judge.model=some-model",
        f"judge.base_url={address}",
        f"judge.concurrency={options.concurrency}",
    )
    benchmark = (f"benchmark=[{NAME}]", f"benchmark.{NAME}.length_controlled=false")
    run = compose_run("config", CONF, ["loss=none", *benchmark, *judge, f"paths.results={results}"])
    files = {"reference_outputs_v2": data / "reference_outputs" / "gpt4_1106_preview.jsonl"}
    return partial(_judged, results, run, files)


def _judged(results: Path, run: Run, files: dict[str, Path], *_: Any) -> None:
    """What a step of verdicts does."""
    from im_bench.stages import Wires, judge

    judge(results, results, run=run, name=NAME, files=files, of_cell=True, wires=Wires())


def _products(count: int, *_: Any) -> None:
    """Matrix products, counted, so that work beside them shows."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(256, 256)
    for _ in range(count):
        torch.mm(matrix, matrix)


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
