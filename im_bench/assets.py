"""Every external file: where it comes from, what it must be, and how it gets here."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from im_bench.config import UserError

FASTCHAT = "https://raw.githubusercontent.com/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data"
ALPACA_EVAL = (
    "https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20"
)
ALPACA_EVAL_HUB = (
    "https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/2edc6fad8be6b14ea7230aabfd08188da6b8b814"
)

log = logging.getLogger(__name__)

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json")


class Asset(NamedTuple):
    """A file of a judged benchmark."""

    address: str
    sha256: str | None
    patterns: tuple[str, ...]
    """Where it is in a folder given as paths.assets; ours first, then names that upstream uses."""


ASSETS = {
    "mt_bench/question": Asset(
        f"{FASTCHAT}/mt_bench/question.jsonl",
        "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
        ("mt_bench/question.jsonl",),
    ),
    "mt_bench/judge_prompts": Asset(
        f"{FASTCHAT}/judge_prompts.jsonl",
        "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
        ("mt_bench/judge_prompts.jsonl", "judge_prompts.jsonl"),
    ),
    "mt_bench/reference_answer": Asset(
        f"{FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl",
        "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        (
            "mt_bench/reference_answer.jsonl",
            "mt_bench/reference_answer_gpt-4.jsonl",
            "mt_bench/reference_answer/gpt-4.jsonl",
        ),
    ),
    # What the 1.0 judge compared with is only on the hub; the repository has another sample of it.
    "alpaca_eval/reference_outputs_v1": Asset(
        f"{ALPACA_EVAL_HUB}/alpaca_eval.json",
        "d92b92c51e8f1962a21193abe74e6f727c2bc8286035f4041505ff38a7c3ae51",
        ("alpaca_eval/reference_outputs_v1.json*", "alpaca_eval/reference_outputs/*davinci_003.json*"),
    ),
    "alpaca_eval/reference_outputs_v2": Asset(
        f"{ALPACA_EVAL}/results/gpt4_1106_preview/model_outputs.json",
        "83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
        ("alpaca_eval/reference_outputs_v2.json*", "alpaca_eval/reference_outputs/gpt4_1106_preview.json*"),
    ),
    # Length control: what a new model's fit needs, and what the published fits are.
    "alpaca_eval/df_gamed": Asset(
        f"{ALPACA_EVAL_HUB}/df_gamed.csv",
        "97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
        ("alpaca_eval/df_gamed.csv",),
    ),
    "alpaca_eval/instruction_difficulty": Asset(
        f"{ALPACA_EVAL_HUB}/instruction_difficulty.csv",
        "e28d875bb334f75e17acd1e4ed659b261860e3db379cf5de29060301bed0a18b",
        ("alpaca_eval/instruction_difficulty.csv", "alpaca_eval/instruction_difficulty*.csv"),
    ),
    "alpaca_eval/glm_weights": Asset(
        f"{ALPACA_EVAL}/src/alpaca_eval/metrics/weights/weighted_alpaca_eval_gpt4_turbo/length_controlled_v1/"
        "baseline_gpt4_1106_preview.csv",
        "3bd6d5a46327020f1b3eea79ac62d537f89a953d44ab0a6da83c954e36a23254",
        ("alpaca_eval/glm_weights.csv", "alpaca_eval/*glm_weights*.csv"),
    ),
}


class AssetMissing(UserError):
    """An asset is not in its folder, or cannot be fetched."""


def find_asset(name: str, folder: str | None, cache: Path) -> Path:
    """The local file of an asset: from `folder` (paths.assets) or, without one, fetched into `cache`.

    Raises:
        UserError: when the folder lacks it, or it cannot be fetched, or its content is not what it must be.
    """
    asset = ASSETS[name]
    if folder is None:
        suffix = Path(asset.address).suffix
        return fetch(
            asset.address, cache / f"{name}{suffix}", asset.sha256, remedy="paths.assets=FOLDER can serve it"
        )
    if not Path(folder).is_dir():
        raise UserError(f"paths.assets={folder}: there is no such folder")
    for pattern in asset.patterns:
        found = sorted(Path(folder).glob(pattern))
        if found:
            return found[0]
    raise AssetMissing(f"paths.assets={folder}: the folder lacks {asset.patterns[0]}")


def fetch(
    address: str,
    to: Path,
    sha256: str | None,
    *,
    remedy: str,
    check: Callable[[Path], None] = lambda draft: None,
) -> Path:
    """Download a file unless it is there; written by rename, so that a file that exists is whole and was checked."""
    if not to.exists():
        draft = to.with_name(f"{to.name}.{os.getpid()}.draft")
        log.info("fetching %s", address)
        try:
            _download(address, draft)
            check_sha256(draft, sha256, address)
            check(draft)
            draft.replace(to)
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "reason", None) or error
            raise AssetMissing(
                f"{address}: could not be fetched ({reason}). Without network, {remedy}"
            ) from None
        finally:
            draft.unlink(missing_ok=True)
    check_sha256(to, sha256, str(to))
    return to


def _download(address: str, draft: Path) -> None:
    with urllib.request.urlopen(address, timeout=60) as response:
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
            promised = response.headers.get("Content-Length")
            if promised is not None and int(promised) != file.tell():
                raise ConnectionError(f"{file.tell()} bytes came of {promised}")


def offline_unless_reachable() -> None:
    """Where the hub cannot be reached, have its libraries look no further than their cache.

    Left to themselves they try again for half a minute per file. To be called before they are imported.
    """
    if os.environ.get("HF_HUB_OFFLINE"):
        return
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=10).close()
    except urllib.error.HTTPError:
        return  # whatever it thinks of the request, it is there
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        log.info("%s cannot be reached; what is in the local cache is used", hub)
        os.environ["HF_HUB_OFFLINE"] = "1"


def check_sha256(path: Path, sha256: str | None, what: str) -> None:
    found = file_sha256(path)
    if sha256 is not None and found != sha256:
        raise UserError(
            f"{what}: sha256 is {found}, but must be {sha256}; it is not the file that was published"
        )


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex; remembered while the file does not change."""
    stat = path.stat()
    return _sha256(path, (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size))


@cache
def _sha256(path: Path, stat: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path, patterns: tuple[str, ...] = ("**/*",)) -> str:
    """sha256 over the names and contents of a folder's files; where the folder lies does not matter."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    listing = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def benchmark_data_sha256(benchmark: str, datasets: tuple[str, ...], hub: str | None) -> str:
    """What of a benchmark's data enters a key: `official` for the hub's, else the content of the folder's.

    Args:
        datasets: `org/name`, or `org/name:config,config`.
        hub: a folder in hub layout, or None.

    Raises:
        UserError: when the folder lacks a dataset or a config of it.
    """
    if hub is None:
        return "official"
    if not Path(hub).is_dir():
        raise UserError(f"paths.hub={hub}: there is no such folder")
    parts = []
    for dataset in datasets:
        name, _, needed = dataset.partition(":")
        folder = Path(hub) / name
        configs = needed.split(",") if needed else []
        absent = _absent(folder, configs) if folder.is_dir() else [str(folder)]
        if absent:
            raise UserError(
                f"benchmark={benchmark}: paths.hub={hub} has no data for it ({absent[0]} is missing); "
                f"leave it out with ~benchmark.{benchmark}"
            )
        # README.md says which files a config has; where they do not lie in a folder of its name, any may be one.
        own = [f"{config}/**/*" for config in configs if (folder / config).is_dir()]
        whole = not own or len(own) < len(configs)
        parts.append(folder_sha256(folder, ("**/*",) if whole else ("README.md", *own)))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _absent(folder: Path, configs: Sequence[str]) -> list[str]:
    """Configs that are neither named in the front matter of the folder's README.md nor folders of it."""
    readme = folder / "README.md"
    front = readme.read_text(encoding="utf-8").split("---")[1:2] if readme.is_file() else []
    named = {f"{name}" for name in re.findall(r"config_name:\s*[\"']?([\w.-]+)", "".join(front))}
    return [
        f"{folder / config}" for config in configs if config not in named and not (folder / config).is_dir()
    ]


def check_model_folder(folder: Path, key: str) -> None:
    """Refuse a folder that no model can be loaded from.

    Raises:
        UserError: naming `key`, the folder and the missing file.
    """
    check_tokenizer_folder(folder, key)
    if not (folder / "config.json").is_file():
        raise UserError(f"{key}={folder}: there is no config.json, so this is no model folder")
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        raise UserError(f"{key}={folder}: there are no weights ({' or '.join(WEIGHTS)})")


def check_tokenizer_folder(folder: Path, key: str) -> None:
    """Refuse a folder that no tokenizer can be loaded from.

    Raises:
        UserError: naming `key`, the folder and the missing file.
    """
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: there is no such folder")
    if not any((folder / name).is_file() for name in TOKENIZER):
        raise UserError(f"{key}={folder}: there is no tokenizer (tokenizer.json or tokenizer.model)")
