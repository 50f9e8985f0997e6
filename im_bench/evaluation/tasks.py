"""lm-eval's own tasks: what they read, the tasks themselves, and their requests; each made once a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
from lm_eval.api.instance import Instance
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from im_bench.config import UserError
from im_bench.evaluation import squad
from im_bench.evaluation.benchmarks import Entry

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

TASKS = Path(find_spec("lm_eval").origin or "").parent / "tasks"  # type: ignore[union-attr]  # imported above

datasets.disable_progress_bars()
squad.supply()


class Rows(NamedTuple):
    """A dataset as a task asks for it."""

    path: str
    config: str | None


def sources(name: str, entry: Entry) -> list[Rows]:
    """The hub datasets and configs that a benchmark's tasks read, as lm-eval's files name them."""
    manager = _manager(name, entry, None, None)
    manager._factory = listing = _Listing()
    manager.load(list(entry.tasks))
    return list(dict.fromkeys(listing.found))


class _Listing(TaskFactory):
    """Notes what each task would read, and builds none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Rows] = []

    def _build_task(self, entry: Any, overrides: dict[str, Any] | None) -> Any:
        config = self._load_full_config(entry, overrides)
        self.found.append(Rows(config["dataset_path"], config.get("dataset_name")))
        return SimpleNamespace(task_name=config["task"])


@cache
def load_tasks(
    name: str, entry: Entry, shots: int | None, hub: str | None, rows: str | None = None
) -> dict[str, Any]:
    """lm-eval's task objects with their data; loaded once a process, whatever the number of checkpoints.

    Raises:
        UserError: the data cannot be had, or have fewer examples than shots are asked for.
    """
    try:
        loaded: dict[str, Any] = _manager(name, entry, hub, rows).load(list(entry.tasks))
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")[:300]
        remedy = (
            "where the hub is out of reach, paths.hub=FOLDER can serve it"
            if hub is None
            else f"look at {hub}"
        )
        raise UserError(f"benchmark data of {', '.join(entry.tasks)}: {first}; {remedy}") from error
    # A task's templates are programs, and fail in any way on rows they were not made for.
    except Exception as error:
        raise _misfit(name, entry.datasets[0].partition(":")[0], error) from error
    for task in loaded["tasks"].values():
        # The harness's own rule: a task that states 0 shots keeps them, as its examples are in its prompt.
        own = task.get_config("num_fewshot")
        if shots is not None and own != 0:
            task.set_config(key="num_fewshot", value=shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        _check_shots(name, task)
    return loaded


def _manager(name: str, entry: Entry, hub: str | None, rows: str | None) -> TaskManager:
    # Only the folder of these tasks: the harness's index of all its folders takes 8 s.
    manager = TaskManager(include_path=TASKS / (entry.folder or name), include_defaults=False)
    if hub is not None:
        manager._factory = _Redirected(Path(hub).resolve(), rows)
    return manager


def _check_shots(benchmark: str, task: Any) -> None:
    asked = task.get_config("num_fewshot")
    there = len(list(task.fewshot_docs())) if asked else 0
    if there < asked:
        raise UserError(
            f"benchmark.{benchmark}.shots={asked}: the data of {task.config.task} has {there} examples to show"
        )


class _Redirected(TaskFactory):
    """Builds the official tasks with data from a folder in hub layout; nothing else of them is changed."""

    def __init__(self, hub: Path, rows: str | None):
        super().__init__()
        self.hub = hub
        self.rows = {"cache_dir": rows} if rows else {}

    def _load_full_config(self, *arguments: Any) -> dict[str, Any]:
        config = super()._load_full_config(*arguments)
        if "dataset_path" in config:
            config["dataset_path"] = str(self.hub / config["dataset_path"])
            config["dataset_kwargs"] = (config.get("dataset_kwargs") or {}) | self.rows
        return config


_built: dict[tuple[Any, int | None, str | None], list[Instance]] = {}
"""Requests by task, limit and what spells a chat: a second checkpoint is asked the same."""


def requests(name: str, task: Any, limit: int | None, chat: Engine | None) -> list[Instance]:
    """The requests of a task as the harness builds them, once a process; with `chat`, in its chat template."""
    key = (task, limit, None if chat is None else _spelling(chat))
    if key in _built:
        return _built[key]
    # A generator of its own for every task: else its examples would depend on what was scored before.
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    try:
        type(task).build_all_requests(
            task,
            limit=limit,
            apply_chat_template=chat is not None,
            fewshot_as_multiturn=chat is not None,
            chat_template=chat and chat.lm.apply_chat_template,
        )
        task.doc_to_target(task.instances[0].doc)
    except Exception as error:  # as in load_tasks
        raise _misfit(name, task.config.dataset_path, error) from error
    _built[key] = task.instances
    return _built[key]


def _spelling(chat: Engine) -> str:
    """The chat template, and the special tokens that it may write."""
    return str((chat.tokenizer.chat_template, chat.tokenizer.special_tokens_map))


def _misfit(name: str, dataset: str, error: Exception) -> UserError:
    cause = error.__cause__ or error
    said = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
    return UserError(
        f"benchmark.{name}: the rows of {dataset} do not fit lm-eval's task ({said}); they need the columns of the "
        "official dataset"
    )


def hand_out(task: Any, asked: Sequence[Instance]) -> None:
    """Have the harness take these requests, unanswered, where it would build them."""

    def build_all_requests(**_: Any) -> None:
        task._instances = [replace(request, resps=[], filtered_resps={}) for request in asked]

    task.build_all_requests = build_all_requests
