"""The toy world on disk: benchmark data, judged benchmarks, instruction sets and corpus."""

from pathlib import Path

from im_bench.toy.corpus import pages
from im_bench.toy.hub import asked, hub_tables
from im_bench.toy.hub.tables import write_tables
from im_bench.toy.instructions import LONG, POOL, POOL_ROWS, ROWS, SHORT, conversations, heldout
from im_bench.toy.judged import instructions, write_judged, write_lines
from im_bench.toy.world import make_world

VERSION = 3
"""Raised by hand when the world's files change, so that an old world is not taken for it."""


def write_world(folder: Path, seed: int) -> None:
    """Fill `folder` with hub/, assets/, sft/ and corpus.jsonl; equal bytes for equal seeds."""
    world = make_world(seed)
    tables = hub_tables(world)
    write_tables(folder / "hub", tables)
    write_judged(folder / "assets", world)
    forbidden = {text for table in tables for row in table.rows for text in asked(row)} | instructions(world)
    sets = {
        name: list(conversations(world, kinds, count, purpose=f"sft/{name}", forbidden=forbidden))
        for name, kinds, count in (
            ("toy_long", LONG, ROWS),
            ("toy_short", SHORT, ROWS),
            ("toy_pool", POOL, POOL_ROWS),
        )
    }
    trained = [*sets["toy_long"], *sets["toy_short"]]
    sets["toy_heldout"] = heldout(world, trained, ROWS, purpose="sft/toy_heldout", forbidden=forbidden)
    for name, rows in sets.items():
        write_lines(folder / f"sft/{name}.jsonl", rows)
    write_lines(folder / "corpus.jsonl", ({"text": page} for page in pages(world, forbidden)))
