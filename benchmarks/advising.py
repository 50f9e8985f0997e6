"""Seconds and peak memory of `im-bench advise` on ten thousand, a hundred thousand and a million conversations.

The files are made: words by Zipf's law, instructions and outputs of log-normal length about the means of Dolly 3k.
With `--hub FOLDER` test items of benchmarks are looked for as well.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import setting

SIZES = (10_000, 100_000, 1_000_000)
WORDS = 20_000


def main() -> None:
    parser = setting.arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--hub", help="a folder with benchmark data in hub layout")
    parser.add_argument("--file", help=setting.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_side(options.file, options.hub)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            file = Path(folder) / f"{size}.jsonl"
            _write(file, size)
            more = ["--file", str(file), *(["--hub", options.hub] if options.hub else [])]
            found = setting.take_turns(["im-bench"], options, *more)
            row = {"conversations": size, "file MB": file.stat().st_size / 1e6}
            rows.append(
                row | {field: setting.medians(found, field)["im-bench"] for field in ("seconds", "peak MB")}
            )
            file.unlink()
    setting.show(rows, options.json)


def _write(file: Path, size: int) -> None:
    draw = random.Random(0)
    words = [f"w{number:x}" for number in range(WORDS)]
    weights = [1 / (rank + 1) for rank in range(WORDS)]
    text = draw.choices(words, weights, k=1_000_000)
    with file.open("w") as lines:
        for _ in range(size):
            parts = []
            for mean in (3.0, 3.5):
                count = max(1, round(draw.lognormvariate(mean, 1.0)))
                start = draw.randrange(len(text) - 5000)
                parts.append(" ".join(text[start : start + min(count, 5000)]))
            lines.write(json.dumps({"prompt": parts[0], "completion": f"{parts[1]}."}) + "\n")


def _side(file: str, hub: str | None) -> dict[str, float]:
    command = [sys.executable, "-m", "im_bench", "advise", file, "--json"]
    start = time.monotonic()
    subprocess.run([*command, *([f"paths.hub={hub}"] if hub else [])], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    # Linux counts it in KiB.
    return {
        "seconds": seconds,
        "peak MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
    }


if __name__ == "__main__":
    main()
