"""Silence for this thread's root logger, and for nobody else."""

import logging
import threading
import warnings
from collections.abc import Iterator

import pytest

from im_bench.evaluation.quiet import quiet


class Heard(logging.Handler):
    """Remembers what reaches it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A handler of the root logger, which hears everything."""
    root, handler = logging.getLogger(), Heard()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def state() -> tuple[int, list[logging.Handler], list[object]]:
    root = logging.getLogger()
    return root.level, list(root.handlers), list(root.filters)


def in_a_thread(act: object) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_this_threads_root_records_are_not_heard(heard):
    logging.warning("before")
    with quiet():
        logging.warning("within")
        logging.getLogger().error("within, too")
    logging.warning("after")
    assert heard.words == ["before", "after"]


def test_named_loggers_are_heard_as_before(heard):
    with quiet():
        logging.getLogger("im_bench.somewhere").warning("named")
    assert heard.words == ["named"]


def test_another_threads_root_records_are_heard_as_before(heard):
    with quiet():
        in_a_thread(lambda: logging.warning("elsewhere"))
        logging.warning("here")
    assert heard.words == ["elsewhere"]


def test_two_threads_that_are_quiet_at_once_mute_each_its_own(heard):
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            logging.warning("other, within")
            inside.set()
            leave.wait(10)
        logging.warning("other, after")

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with quiet():
        logging.warning("here, within")
        leave.set()
        thread.join()
        logging.warning("here, still within")
    logging.warning("here, after")
    assert heard.words == ["other, after", "here, after"]


@pytest.mark.parametrize("error", [None, ValueError])
def test_the_root_logger_is_left_as_it_was(error):
    before = state()
    try:
        with quiet():
            logging.getLogger().setLevel(logging.CRITICAL)
            logging.warning("within")
            if error:
                raise error
    except ValueError:
        assert error
    assert state() == before


def test_a_root_logger_without_a_handler_is_given_none_for_good(capfd):
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with quiet():
            logging.warning("within")
        assert root.handlers == []
    finally:
        root.handlers = handlers
    assert capfd.readouterr() == ("", "")


def test_warnings_of_the_named_modules_are_silent_and_others_stay_errors():
    def warn_in(module: str) -> None:
        warnings.warn_explicit("old", FutureWarning, f"{module}.py", 1, module=module)

    with warnings.catch_warnings(action="error"), quiet("loud", "noisy.part"):
        warn_in("loud")
        warn_in("loud.inner")
        warn_in("noisy.part")
        for other in ("silent", "noisyxpart", "im_bench.loud"):
            with pytest.raises(FutureWarning):
                warn_in(other)
