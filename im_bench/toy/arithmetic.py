"""Word problems of one or two steps over small numbers, with their worked answers."""

from random import Random
from typing import NamedTuple

from im_bench.toy.world import World

THINGS = "apples nuts boots candles coins stars bells horses".split()


class Problem(NamedTuple):
    question: str
    steps: tuple[str, ...]
    """Such as "3 + 2 = 5"; the last ends in the result."""
    result: int

    @property
    def reason(self) -> str:
        return " ".join(f"{step}." for step in self.steps) + f" The answer is {self.result}."


def problem(world: World, rng: Random) -> Problem:
    person, thing = rng.choice(world.people), rng.choice(THINGS)
    if rng.random() < 0.5:
        a, b = rng.randint(1, 5), rng.randint(1, 5)
        gained = rng.choice(("gets", "finds", "buys"))
        question = (
            f"{person} has {a} {thing}. {person} {gained} {b} more. How many {thing} does {person} have?"
        )
        return Problem(question, (f"{a} + {b} = {a + b}",), a + b)
    a = rng.randint(2, 6)
    b = rng.randint(1, a - 1)
    lost = rng.choice(("loses", "sells", "eats"))
    question = f"{person} has {a} {thing}. {person} {lost} {b} of them. How many {thing} does {person} have?"
    return Problem(question, (f"{a} - {b} = {a - b}",), a - b)


def official_answer(item: Problem) -> str:
    """As GSM8K writes it: calculator marks in the steps, the result after four hashes."""
    lines = []
    for step in item.steps:
        left, right = step.split(" = ")
        lines.append(f"{left} = <<{left.replace(' ', '')}={right}>>{right}")
    return "\n".join([*lines, f"#### {item.result}"])
