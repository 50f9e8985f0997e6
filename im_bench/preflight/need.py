"""What cells need before any of them runs, whether it is at hand, and how to get it."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from im_bench import config as c
from im_bench import hub, places
from im_bench.assets import ASSETS, benchmark_data_sha256, check_model_folder, find_asset
from im_bench.config import UserError
from im_bench.data.published import at_hand, dataset_file
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engines import check_installed
from im_bench.pipeline import HELDOUT, Cell, assets_of, with_heldout
from im_bench.stages import KINDS
from im_bench.work import is_judging

Kind = Literal["model", "dataset", "benchmark", "file", "package", "program", "key", "server", "sandbox"]
MEASURES: dict[str, tuple[str, ...]] = {"losses": (), "memorisation": ("sacrebleu",)}
"""Packages of analyses."""
PACKAGES = {
    "harness": ("lm_eval", "datasets"),
    "humaneval": ("datasets",),
    "mt_bench": (),
    "alpaca_eval": ("alpaca_eval",),
}


@dataclass(frozen=True)
class Need:
    """One thing, and where it is or why it is not."""

    kind: Kind
    name: str
    of: tuple[str, ...]
    """Benchmarks and analyses that need it, or `training`, `judge`, `engine`."""
    at: str | None
    problem: str | None = None
    get: Callable[[], object] | None = None
    """Fetches it, where it can be fetched."""
    on_hub: tuple[str, str] | None = None
    """Whether it is a model or a dataset of the hub, and its id."""

    @property
    def sentence(self) -> str:
        """Its problem, said of the key where it has one, and else of the thing."""
        if re.match(r"[\w.]+=", self.problem or ""):
            return f"{self.problem}"
        thing = self.name if self.kind == "key" else f"{self.kind} {self.name}"
        return f"{thing} (for {', '.join(self.of)}): {self.problem}"

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "needed_by": self.of,
            "at": self.at,
            "problem": self.problem,
        }


class Parts(NamedTuple):
    """What of a cell is to do."""

    trains: bool
    asks: frozenset[str]
    """Benchmarks that the model has to answer."""
    judges: frozenset[str]
    """Benchmarks that want verdicts."""
    measures: frozenset[str] = frozenset()
    """Analyses."""

    @property
    def loads(self) -> bool:
        """Whether a model is needed, be it to train it."""
        return bool(self.trains or self.asks or self.measures)

    @property
    def opens(self) -> bool:
        """Whether an engine is needed, which writes answers."""
        return bool(self.asks or "memorisation" in self.measures)

    @classmethod
    def whole(cls, run: c.Run) -> Parts:
        """All of a cell of which nothing is done."""
        judged = {name for name, spec in run.benchmark.items() if isinstance(spec, c.MTBench | c.AlpacaEval)}
        return cls(run.loss.trains, frozenset(run.benchmark), frozenset(judged), frozenset(run.analyses))

    @classmethod
    def left(cls, cell: Cell, todo: Collection[str]) -> Parts:
        """What of a cell is among the keys to do; a verdict needs its answers and no model."""
        asks = {
            name
            for name, step in cell.benchmarks.items()
            if any(KINDS[each.kind] == "score" and each.key in todo for each in (step, *step.needs))
        }
        judges = {name for name, step in cell.benchmarks.items() if is_judging(step) and step.key in todo}
        trains = cell.run.loss.trains and cell.checkpoint.key in todo
        measures = frozenset(name for name, step in cell.analyses.items() if step.key in todo)
        return cls(trains, frozenset(asks), frozenset(judges), measures)


def needs(wanted: Iterable[tuple[c.Run, Parts]]) -> list[Need]:
    """Everything that these parts of cells need, each thing once; what is missing is not fetched."""
    found: dict[tuple[str | None, ...], Need] = {}
    alike = {repr((parts, _of_needs(run))): (run, parts) for run, parts in wanted}
    for run, parts in alike.values():
        for need in _needs(run, parts):
            # By its place too: two files of a user's are both called `local`.
            this = (need.kind, need.name, need.at, need.problem)
            of = tuple(dict.fromkeys((*(found[this].of if this in found else ()), *need.of)))
            found[this] = replace(need, of=of)
    return _with_hub_rows(list(found.values()))


def _of_needs(run: c.Run) -> tuple[object, ...]:
    """What of a cell its needs depend on: most cells of a sweep are alike in it."""
    machine = (run.engine, run.launcher, run.tracker, run.paths)
    return (run.model, run.dataset, run.benchmark, run.analysis, run.judge, *machine)


def explained(found: Iterable[Need]) -> list[Need]:
    """With what the hub says of what is missing: gated, moved, not there."""
    return [_explained(need) if need.problem and need.on_hub else need for need in found]


def _explained(need: Need) -> Need:
    assert need.on_hub
    said = hub.standing(*need.on_hub)
    return replace(need, problem=f"{need.problem}; {said}") if said else need


def fetch(found: Sequence[Need], tell: Callable[[str], None]) -> None:
    """Get what is missing and can be fetched, one after the other; what fails is told, and stops nothing."""
    missing = [need for need in found if need.get]
    for number, need in enumerate(missing, start=1):
        tell(f"{number} of {len(missing)}: {need.kind} {need.name}")
        assert need.get
        try:
            need.get()
        except (UserError, OSError) as error:
            tell(f"  {error}")


def _needs(run: c.Run, parts: Parts) -> Iterator[Need]:
    if parts.loads:
        yield _model(run.model)
    if parts.trains or (parts.measures and run.loss.trains):
        yield from _datasets(run, ("training",) if parts.trains else tuple(sorted(parts.measures)))
    held_out = with_heldout(run, run.analysis.losses)
    if held_out and "losses" in parts.measures:
        yield from _datasets(held_out, ("losses",), HELDOUT)
    for name in sorted(parts.measures):
        yield from (_package(package, (name,)) for package in MEASURES[name])
    for name, spec in run.benchmark.items():
        if name in BENCHMARKS and name in parts.asks | parts.judges:
            yield from _benchmark(run, name, spec)
    if parts.judges:
        yield from _judge(run.judge)
    if parts.opens:
        yield from _engine(run.engine, parts)
    yield from _launcher(run.launcher)
    if run.tracker.kind == "wandb":
        yield _package("wandb", ("tracker",))


def _model(model: c.Model) -> Need:
    name, of = model_name(model), ("model",)
    match model.source:
        case "toy":
            return Need("model", name, of, "made when it is first asked for")
        case "local":
            return _tried("model", name, of, lambda: check_model_folder(Path(name), "model.path"), name)
    folder = hub.cached_model(name, model.revision)
    if folder:
        return Need("model", name, of, str(folder))
    get = partial(hub.fetch_model, name, model.revision)
    return Need(
        "model",
        name,
        of,
        None,
        "not in the local cache, or not whole; a copy of yours is model=local model.path=FOLDER",
        get,
        ("model", name),
    )


def model_name(model: c.Model) -> str:
    return model.id or model.path or "toy"


def _tried(
    kind: Kind, name: str, of: tuple[str, ...], check: Callable[[], object], at: str, fetched: bool = False
) -> Need:
    """At hand if the check passes; what it says against it otherwise."""
    try:
        check()
    except UserError as error:
        return Need(kind, name, of, None, str(error))
    return Need(kind, name, of, at)


def _datasets(run: c.Run, of: tuple[str, ...], begin: str = "dataset") -> Iterator[Need]:
    for key, dataset in datasets_of(run, begin):
        if dataset.source == "toy":
            yield Need("dataset", dataset.name, of, "made when it is first asked for")
            continue
        mirror, cache = run.paths.datasets, run.paths.cache
        found, get = at_hand(dataset, mirror, cache), partial(dataset_file, dataset, mirror, cache, key)
        if found:
            yield _tried("dataset", dataset.name, of, get, str(found))
        elif dataset.path is not None:
            problem = f"{key}.path={dataset.path}: there is no such file"
            yield Need("dataset", dataset.name, of, None, problem)
        else:
            place = dataset.id or dataset.address
            on_hub = ("dataset", dataset.id) if dataset.id else None
            yield Need("dataset", dataset.name, of, None, f"not fetched yet ({place})", get, on_hub)


def datasets_of(run: c.Run, key: str = "dataset") -> list[tuple[str, c.Dataset]]:
    """The datasets of a run, each with how its keys begin: one, or those of a mixture; `key` is where it is said."""
    parts = [(f"{key}.parts.{name}", part.dataset) for name, part in run.dataset.parts.items()]
    return parts or [(key, run.dataset)]


def _benchmark(run: c.Run, name: str, spec: c.Benchmark) -> Iterator[Need]:
    for package in PACKAGES[spec.runner]:
        yield _package(package, (name,))
    if name.startswith("wmt"):
        yield _package("sacrebleu", (name,))  # the metric
    if isinstance(spec, c.HumanEval):
        yield _sandbox()
    if isinstance(spec, c.MTBench | c.AlpacaEval):
        yield from _files(run, name, spec)
    elif run.paths.hub == "toy":
        yield Need("benchmark", name, (name,), "made when it is first asked for")
    elif run.paths.hub is not None:
        folder = run.paths.hub
        check = partial(benchmark_data_sha256, name, BENCHMARKS[name].datasets, folder)
        yield _tried("benchmark", name, (name,), check, str(folder))
    else:
        for path, config in _rows(name):
            yield Need("benchmark", f"{path} {config or ''}".strip(), (name,), None)


def _rows(name: str) -> list[hub.Rows]:
    entry = BENCHMARKS[name]
    if not entry.tasks:
        return [(entry.datasets[0], None)]
    from im_bench.evaluation.tasks import sources

    return [(rows.path, rows.config) for rows in sources(name, entry)]


def _with_hub_rows(found: Sequence[Need]) -> list[Need]:
    """The hub's benchmark data looked up together, configs of one dataset as one need."""
    groups: dict[str, list[Need]] = defaultdict(list)
    for need in found:
        if need.kind == "benchmark" and need.at is None and need.problem is None:
            groups[need.name.split()[0]].append(need)
    wanted = [_as_rows(need) for group in groups.values() for need in group]
    cached = hub.cached_rows(wanted) if wanted else set()
    rest = [need for need in found if need.name.split()[0] not in groups]
    return rest + [_hub_need(path, group, cached) for path, group in groups.items()]


def _as_rows(need: Need) -> hub.Rows:
    path, _, config = need.name.partition(" ")
    return path, config or None


def _hub_need(path: str, group: Sequence[Need], cached: set[hub.Rows]) -> Need:
    missing = [_as_rows(need) for need in group if _as_rows(need) not in cached]
    of = tuple(dict.fromkeys(name for need in group for name in need.of))
    configs = f" ({len(group)} configs)" if len(group) > 1 else ""
    name = f"{path}{configs}" if configs or _as_rows(group[0])[1] is None else group[0].name
    if not missing:
        return Need("benchmark", name, of, "the local cache of `datasets`")

    def get() -> None:
        for rows in missing:
            hub.fetch_rows(*rows)

    lacking = f"{len(missing)} of {len(group)} configs " if configs else ""
    return Need(
        "benchmark",
        name,
        of,
        None,
        f"{lacking}not in the local cache; copies of yours are paths.hub=FOLDER",
        get,
        ("dataset", path),
    )


def _files(run: c.Run, name: str, spec: c.MTBench | c.AlpacaEval) -> Iterator[Need]:
    needed, optional = assets_of(spec)
    for asset in needed:
        yield _file(run, asset, name)
    for asset in optional:
        need = _file(run, asset, name)
        without = f"not at hand, so {name} has no length-controlled win rate"
        has_none = need.problem or run.paths.assets == "toy"
        yield replace(need, at=without, problem=None) if has_none else need


def _file(run: c.Run, asset: str, of: str) -> Need:
    if run.paths.assets == "toy":
        return Need("file", asset, (of,), "made when it is first asked for")
    folder, cache = places.assets_folder(run), run.paths.cache
    look = partial(find_asset, asset, folder, cache)
    place = cache / f"{asset}{Path(ASSETS[asset].address).suffix}"
    if folder is not None or place.exists():
        return _tried("file", asset, (of,), look, str(folder or place))
    return Need("file", asset, (of,), None, "not fetched yet", look)


def _package(name: str, of: tuple[str, ...]) -> Need:
    try:
        return Need("package", name, of, version(name))
    except PackageNotFoundError:
        return Need("package", name, of, None, f"not installed; pip install {name}")


def _key(name: str, of: tuple[str, ...], key: str) -> Need:
    if os.environ.get(name):
        return Need("key", name, of, "the environment")
    return Need(
        "key", name, of, None, f"the environment variable is not set; export {name}=KEY, or set {key}"
    )


def _sandbox() -> Need:
    from im_bench.evaluation.sandbox import isolation

    try:
        return Need("sandbox", "for model-written programs", ("humaneval",), isolation().kind)
    except UserError as error:
        return Need("sandbox", "for model-written programs", ("humaneval",), None, str(error))


def _judge(judge: c.Judge) -> Iterator[Need]:
    if isinstance(judge, c.Replay):
        for path in judge.files:
            problem = None if path.is_file() else f"judge.files={path}: there is no such file"
            yield Need("file", str(path), ("judge",), str(path), problem)
    if not isinstance(judge, c.Served):
        return
    if judge.model == c.UNNAMED:
        problem = "a value is needed, e.g. judge.model=NAME, or judge=overlap"
        yield Need("key", "judge.model", ("judge",), None, problem)
    if judge.api_key_env is not None:
        yield _key(judge.api_key_env, ("judge",), "judge.api_key_env")
    if judge.retired is not None and judge.base_url is None:
        yield Need("server", judge.model, ("judge",), None, judge.retired)
    if judge.base_url is not None:
        check = partial(_ask, "judge.base_url", judge.base_url, judge.model)
        yield _tried("server", judge.base_url, ("judge",), check, "it answers")


def _engine(engine: c.Engine, parts: Parts) -> Iterator[Need]:
    if isinstance(engine, c.Fast):
        check = partial(check_installed, engine)
        yield _tried("package", engine.kind, ("engine",), check, "installed")
    if isinstance(engine, c.Server):
        if engine.api_key_env is not None:
            yield _key(engine.api_key_env, ("engine",), "engine.api_key_env")
        if parts.trains:  # it is to serve what is not there yet
            return
        check = partial(_ask, "engine.base_url", engine.base_url)
        yield _tried("server", engine.base_url, ("engine",), check, "it answers")


def _launcher(launcher: c.Launcher) -> Iterator[Need]:
    if isinstance(launcher, c.Ray):
        yield _package("ray", ("launcher",))
    if isinstance(launcher, c.Slurm):
        yield _package("submitit", ("launcher",))
        for program in ("sbatch", "srun", "squeue"):
            found = shutil.which(program)
            problem = None if found else "is not on the PATH; give the command where SLURM's commands are"
            yield Need("program", program, ("launcher",), found, problem)


def _ask(key: str, base_url: str, model: str | None = None) -> None:
    """Whether a server of OpenAI's protocol answers, by its list of models, and has this one on it."""
    served: list[str] | None = None
    try:
        with urllib.request.urlopen(f"{base_url.rstrip('/')}/models", timeout=10) as reply:
            served = [str(each["id"]) for each in json.load(reply)["data"]]
    except urllib.error.HTTPError as error:
        # With its key, it may answer; and not every judge has a list.
        no_list = error.code in (404, 405, 501) and base_url.rstrip("/").endswith("/v1")
        if error.code not in (401, 403) and not (model and no_list):
            raise UserError(
                f"{key}={base_url}: no list of models (status {error.code}); it ends in /v1"
            ) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"{key}={base_url}: no answer ({getattr(error, 'reason', error)}); is it up?"
        ) from None
    except (ValueError, KeyError, TypeError, HTTPException):
        raise UserError(f"{key}={base_url}: no list of models; it begins with http and ends in /v1") from None
    if served is not None and model not in (None, c.UNNAMED, *served):
        raise UserError(f"{key}={base_url}: serves {', '.join(served[:5]) or 'no model'}, not {model}")
