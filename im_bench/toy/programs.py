"""Short Python functions: a docstring that says what to return, and the one line that does it."""

from random import Random
from typing import NamedTuple

PARAMETERS = "items values numbers things".split()
NOUNS = "total result answer number value part mark score count".split()
VERBS = "get find make give take show read".split()


class Idiom(NamedTuple):
    doc: str
    body: str
    """An expression over the parameter `{p}`."""
    cases: tuple[tuple[str, str], ...]
    """Arguments and expected values, as Python source."""


IDIOMS = (
    Idiom("the sum of {p}", "sum({p})", (("[1, 2, 3]", "6"), ("[]", "0"), ("[5, -2]", "3"))),
    Idiom("the largest of {p}", "max({p})", (("[1, 7, 3]", "7"), ("[2]", "2"), ("[-4, -9]", "-4"))),
    Idiom("the smallest of {p}", "min({p})", (("[4, 7, 3]", "3"), ("[2]", "2"), ("[-4, -9]", "-9"))),
    Idiom("the length of {p}", "len({p})", (("[1, 7, 3]", "3"), ("[]", "0"), ("[0, 0]", "2"))),
    Idiom(
        "{p} in order", "sorted({p})", (("[2, 1, 3]", "[1, 2, 3]"), ("[]", "[]"), ("[5, 5, 0]", "[0, 5, 5]"))
    ),
    Idiom("{p} in reverse", "{p}[::-1]", (("[2, 1, 3]", "[3, 1, 2]"), ("[]", "[]"), ("[8]", "[8]"))),
    Idiom("the first of {p}", "{p}[0]", (("[2, 1, 3]", "2"), ("[9]", "9"), ("[0, 4]", "0"))),
    Idiom("the last of {p}", "{p}[-1]", (("[2, 1, 3]", "3"), ("[9]", "9"), ("[0, 4]", "4"))),
    Idiom(
        "{p} without doubles",
        "list(dict.fromkeys({p}))",
        (("[2, 2, 3]", "[2, 3]"), ("[]", "[]"), ("[1]", "[1]")),
    ),
    Idiom("two times {p}", "{p} * 2", (("[2]", "[2, 2]"), ("3", "6"), ("[]", "[]"))),
)


class Program(NamedTuple):
    name: str
    head: str
    """Signature and docstring, ending in a newline."""
    body: str
    idiom: Idiom

    @property
    def source(self) -> str:
        return self.head + self.body


def program(rng: Random, idiom: Idiom | None = None) -> Program:
    idiom = idiom or rng.choice(IDIOMS)
    name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    parameter = rng.choice(PARAMETERS)
    head = f'def {name}({parameter}):\n    """Return {idiom.doc.format(p=parameter)}."""\n'
    return Program(name, head, f"    return {idiom.body.format(p=parameter)}\n", idiom)


def check(item: Program) -> str:
    """The source of `check(candidate)`, as in HumanEval."""
    cases = "".join(f"    assert candidate({given}) == {wanted}\n" for given, wanted in item.idiom.cases)
    return f"\n\ndef check(candidate):\n{cases}"
