"""The two sides of a trial: the program answers calls, the checker makes them and judges.

A reply is a letter, `v` or `e`, and the value, or the name and text of an error.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from im_bench.evaluation.jail.plain import Broken, pack, receive, send, unpack

REASON_CHARACTERS = 200


class Raised(Exception):
    """The program raised an error that is no builtin exception."""


def run_program(code: str, entry_point: str, *, calls: int, answers: int) -> None:
    """Define what the model wrote, then call its function as often as the checker asks."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(compile(code, "program.py", "exec"), module.__dict__)
        if entry_point not in module.__dict__:
            raise NameError(f"name {entry_point!r} is not defined")
        reply: tuple[str, Any] = ("value", None)
    except BaseException as error:
        reply = failure(error)
    while True:
        answer(answers, reply)
        arguments, keywords = unpack(receive(calls))
        try:
            reply = ("value", module.__dict__[entry_point](*arguments, **keywords))
        except BaseException as error:
            reply = failure(error)


def answer(answers: int, reply: tuple[str, Any]) -> None:
    """Send a reply, or that its value is not plain data."""
    kind, value = reply
    try:
        message = pack(value)
    except BaseException as error:
        kind, value = failure(error)
        message = pack(value)
    send(answers, kind[0].encode() + message)


def failure(error: BaseException) -> tuple[str, tuple[str, str]]:
    """The reply that tells of an error, whatever the error's own code does."""
    try:
        text = str(error)[:REASON_CHARACTERS]
    except BaseException:
        text = "an error that cannot be shown"
    return "error", (type(error).__name__, text)


def check(*, setup: str, test: str, entry_point: str, calls: int, answers: int) -> tuple[bool, str]:
    """Run the test against the program at the other end; to pass is to come to the end of `check`."""

    def candidate(*arguments: object, **keywords: object) -> object:
        send(calls, pack((arguments, keywords)))
        return _value(answers)

    try:
        _value(answers)  # the program's definitions
        names: dict[str, Any] = {"__name__": "test"}
        exec(compile(setup, "setup.py", "exec"), names)
        exec(compile(test, "test.py", "exec"), names)
        names[entry_point] = candidate
        names["check"](candidate)
    except (Raised, Broken) as error:
        return False, str(error)
    except BaseException as error:
        _, (name, text) = failure(error)
        return False, f"{name}: {text}".rstrip(": ")
    return True, "passed"


def _value(answers: int) -> Any:
    """What the program replies: a value to return, or an error to raise."""
    try:
        message = receive(answers)
    except Broken:
        raise Broken("the program ended early") from None
    value = unpack(message[1:])
    if message[:1] == b"v":
        return value
    name, text = value
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        raise kind(text)
    raise Raised(f"{name}: {text}")
