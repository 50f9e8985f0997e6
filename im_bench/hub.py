"""The Hugging Face hub: what of it lies in the local cache, how it gets there, and why something does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from im_bench.assets import check_model_folder
from im_bench.config import UserError

Rows = tuple[str, str | None]
"""A dataset and a config of it."""

# In a process of its own, as its libraries read the variable once, when they are imported.
LOOK = """
import json, sys, datasets
found = []
for path, config in json.load(sys.stdin):
    try:
        datasets.load_dataset_builder(path, config)
        found.append([path, config])
    except Exception:
        pass
print(json.dumps(found))
"""


def cached_rows(wanted: Iterable[Rows]) -> set[Rows]:
    """Which datasets load without the hub; found by loading them so."""
    asked = json.dumps(list(wanted))
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    look = subprocess.run(
        [sys.executable, "-c", LOOK], input=asked, env=offline, capture_output=True, text=True, check=True
    )
    return {(path, config) for path, config in json.loads(look.stdout.splitlines()[-1])}


def fetch_rows(path: str, config: str | None) -> None:
    """Put a dataset into the cache, as lm-eval loads it.

    Raises:
        UserError: naming what the hub says of it.
    """
    _check_online(path)
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        datasets.load_dataset(path, config)
    except (DatasetsError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: {standing('dataset', path) or first}") from error


def _check_online(what: str) -> None:
    if os.environ.get("HF_HUB_OFFLINE"):
        raise UserError(f"{what}: {endpoint()} cannot be reached, or HF_HUB_OFFLINE is set")


def cached_model(id: str, revision: str | None) -> Path | None:
    """The folder of a model in the cache, if its tokenizer and all its weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = Path(snapshot_download(id, revision=revision, local_files_only=True))
        check_model_folder(folder, id)
    except (OSError, HfHubHTTPError, UserError):
        return None
    shards = folder / "model.safetensors.index.json"
    if not shards.exists():
        shards = folder / "pytorch_model.bin.index.json"
    names = set(json.loads(shards.read_text())["weight_map"].values()) if shards.exists() else set()
    return folder if all((folder / name).exists() for name in names) else None


def fetch_model(id: str, revision: str | None) -> None:
    """Put a model into the cache: its tokenizer and configs, and its weights in one format.

    Raises:
        UserError: naming what the hub says of it.
    """
    _check_online(id)
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        files = HfApi().list_repo_files(id, revision=revision)
        weights = "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"
        snapshot_download(
            id, revision=revision, allow_patterns=[weights, "*.json", "*.model", "*.txt", "*.jinja"]
        )
    except (OSError, HfHubHTTPError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{id}: {standing('model', id) or first}") from error


def standing(kind: str, id: str) -> str | None:
    """Why a model or dataset cannot be had as it is named: gated, moved, or not there; None for none of these."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    page = f"{endpoint()}/{'datasets/' if kind == 'dataset' else ''}{id}"
    gated = f"gated; ask for access on its page at {page} and log in with `hf auth login` (or set HF_TOKEN)"
    try:
        info = HfApi().repo_info(id, repo_type=kind)
    except GatedRepoError:
        return gated
    except RepositoryNotFoundError:
        return f"the hub has no such {kind}, or it is private ({page})"
    except (OSError, HfHubHTTPError):
        return None
    if info.id != id:
        return f"moved to {info.id}"
    return gated if info.gated else None


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")
