"""How far a sweep is, as a person is told: by a bar on a terminal, by lines elsewhere."""

import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from im_bench.progress import Progress
from im_bench.store import Step

REQUESTS = "requests"


class Clock:
    """A time that goes on when it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def step(kind: str, label: str = "a", **config: Any) -> Step:
    """Of its configuration nobody here asks more."""
    made = Step(kind, SimpleNamespace(**config), lambda out: None, label=label)  # type: ignore[arg-type]
    made.__dict__["key"] = f"{kind}-{label}"
    return made


TOY = step("base", source="toy")
FROM_HUB = step("base", source="hub")
TRAIN, OTHER = step("train"), step("train", "b")
PIQA = step("harness", benchmark="piqa")
ANSWERS, VERDICTS = step("answers"), step("verdicts")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., Progress]:
    """Progress of these steps, with the lines of `caplog` from now on."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    caplog.set_level(logging.INFO, "im_bench")

    def begin(*steps: Step) -> Progress:
        progress = Progress()
        progress.bar.get_time = clock
        progress.start(steps)
        caplog.clear()
        return progress

    return begin


def done(progress: Progress, clock: Clock, steps: Sequence[Step], seconds: float = 0) -> None:
    for each in steps:
        progress.began(each.key)
        clock.now += seconds
        progress.ended(each.key)


def bar_says(progress: Progress) -> str:
    """How long the bar says that the sweep will take."""
    sweep = progress.bar.tasks[0]
    return str(progress.bar.columns[-1].render(sweep))  # type: ignore[attr-defined]


# --- the bar ---


def test_progress_is_told_in_requests_within_the_share_of_the_step(begin, clock) -> None:
    progress = begin(TOY, PIQA)
    done(progress, clock, [TOY])
    progress.began(PIQA.key)
    progress.within(PIQA.key, 1, 4, REQUESTS)
    sweep, now = progress.bar.tasks
    assert (sweep.total, sweep.completed, sweep.description) == (31, 30.25, "step 2 of 2")
    assert (now.total, now.completed, now.description) == (4, 1, PIQA.name)
    progress.ended(PIQA.key)
    assert progress.bar.tasks == [sweep] and sweep.completed == sweep.total


def test_steps_side_by_side_have_a_bar_each(begin) -> None:
    progress = begin(ANSWERS, VERDICTS)
    progress.began(ANSWERS.key)
    progress.began(VERDICTS.key)
    progress.within(ANSWERS.key, 1, 4, REQUESTS)
    progress.within(VERDICTS.key, 3, 5, "verdicts")
    sweep, *bars = progress.bar.tasks
    assert [(bar.total, bar.completed, bar.description) for bar in bars] == [
        (4, 1, ANSWERS.name),
        (5, 3, VERDICTS.name),
    ]
    assert sweep.completed == 2 * 1 / 4 + 0.5 * 3 / 5


def test_a_step_that_ends_before_it_began_is_behind_all_the_same(begin, caplog) -> None:
    """As one whose process was killed while it was planned, or that needs one that failed."""
    progress = begin(TOY)
    progress.ended(TOY.key)
    (sweep,) = progress.bar.tasks
    assert sweep.completed == sweep.total == 30
    assert caplog.messages == []


def test_on_a_terminal_the_bar_says_all(begin, clock, caplog, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    progress = begin(TRAIN, OTHER)
    progress.began(TRAIN.key)
    clock.now += 300
    progress.within(TRAIN.key, 1, 4, "optimiser steps")
    progress.ended(TRAIN.key)
    assert caplog.messages == []


# --- lines ---


def test_the_line_of_a_steps_end_says_how_many_are_behind_and_as_the_bar_does_how_long_the_rest_takes(
    begin, clock, caplog
) -> None:
    progress = begin(TRAIN, OTHER, PIQA)
    assert bar_says(progress) == "-:--:--"
    done(progress, clock, [TRAIN], seconds=1000)
    assert caplog.messages == [f"1 of 3 steps ended, about 0:18:20 left: {TRAIN.name}"]  # 11 of 10 shares
    assert bar_says(progress) == "0:18:20"
    clock.now += 100
    assert bar_says(progress) == "0:16:40"
    clock.now += 1e6
    assert bar_says(progress) == "0:00:00"


def test_at_the_last_end_nothing_is_left(begin, clock, caplog) -> None:
    done(begin(TRAIN), clock, [TRAIN], seconds=10)
    assert caplog.messages == [f"1 of 1 steps ended: {TRAIN.name}"]


def test_steps_side_by_side_take_their_time_once(begin, clock, caplog) -> None:
    """Ten trainings that all end within a moment are no reason to expect the others in the next."""
    trainings = [step("train", str(number)) for number in range(20)]
    progress = begin(*trainings)
    for each in trainings[:10]:
        progress.began(each.key)
    clock.now += 3600
    for each in trainings[:10]:
        progress.ended(each.key)
    assert caplog.messages[-1] == f"10 of 20 steps ended, about 1:00:00 left: {trainings[9].name}"


def test_a_base_model_that_is_there_is_no_measure_of_a_training(begin, clock, caplog) -> None:
    progress = begin(FROM_HUB, TRAIN)
    done(progress, clock, [FROM_HUB], seconds=2)
    assert caplog.messages == [f"1 of 2 steps ended: {FROM_HUB.name}"]


def test_a_long_step_says_every_minute_how_far_it_is_and_no_more_often(begin, clock, caplog) -> None:
    progress = begin(TRAIN)
    progress.began(TRAIN.key)
    for number in range(1, 15):
        clock.now += 10
        progress.within(TRAIN.key, number, 100, "optimiser steps, loss 2.5000")
    what = "of 100 optimiser steps, loss 2.5000"
    assert caplog.messages == [
        f"  {TRAIN.name}: 6 {what}, about 0:15:40 left",
        f"  {TRAIN.name}: 12 {what}, about 0:14:40 left",
    ]


def test_optimiser_steps_of_minutes_foretell_an_end_too(begin, clock, caplog) -> None:
    progress = begin(TRAIN)
    progress.began(TRAIN.key)
    for number in (1, 2):
        clock.now += 120
        progress.within(TRAIN.key, number, 4, "optimiser steps")
    assert caplog.messages[-1] == f"  {TRAIN.name}: 2 of 4 optimiser steps, about 0:04:00 left"


def test_what_a_training_that_goes_on_had_done_before_took_no_time(begin, clock) -> None:
    progress = begin(TRAIN, OTHER)
    progress.began(TRAIN.key)
    progress.within(TRAIN.key, 90, 100, "optimiser steps")
    clock.now += 60
    progress.within(TRAIN.key, 95, 100, "optimiser steps")
    assert bar_says(progress) == "0:21:00"  # 5 in a minute, and 105 are left
