"""GSM8K, HumanEval and BBH of the toy world."""

from collections.abc import Iterator
from functools import partial

from im_bench.toy.arithmetic import official_answer, problem
from im_bench.toy.hub import schemas
from im_bench.toy.hub.tables import Row, Table, splits
from im_bench.toy.programs import IDIOMS, Program, check, program
from im_bench.toy.puzzles import KINDS
from im_bench.toy.world import World


def tables(world: World) -> Iterator[Table]:
    yield from gsm8k(world)
    yield humaneval(world)
    yield from bbh(world)


def gsm8k(world: World) -> Iterator[Table]:
    drawn = splits(lambda r: problem(world, r), world.random("gsm8k"), train=20, test=40)
    for split, items in drawn.items():
        rows = [{"question": item.question, "answer": official_answer(item)} for item in items]
        yield Table("openai/gsm8k", "main", split, schemas.GSM8K, rows)


def humaneval(world: World) -> Table:
    """One problem for every idiom."""
    rng = world.random("humaneval")
    rows = [humaneval_row(program(rng, idiom), i) for i, idiom in enumerate(IDIOMS)]
    return Table("openai/openai_humaneval", "openai_humaneval", "test", schemas.HUMANEVAL, rows)


def humaneval_row(item: Program, i: int) -> Row:
    return {
        "task_id": f"ToyEval/{i}",
        "prompt": item.head,
        "canonical_solution": item.body,
        "test": check(item),
        "entry_point": item.name,
    }


def bbh(world: World) -> Iterator[Table]:
    for kind, draw in KINDS.items():
        items = splits(partial(draw, world), world.random(f"bbh/{kind}"), test=1)["test"]
        rows = [{"input": item.input, "target": item.target} for item in items]
        yield Table("SaylorTwift/bbh", kind, "test", schemas.BBH, rows)
