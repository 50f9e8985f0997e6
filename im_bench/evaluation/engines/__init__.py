"""The engines: lm-eval's models, each with what we ask of it besides (`asking.py`). One module for each kind."""

from __future__ import annotations

from importlib.util import find_spec

from im_bench import config
from im_bench.config import UserError

INSTALL = {
    "vllm": "pip install 'im-bench[vllm]'",
    "sglang": "pip install sglang where its pins allow it, or run its server elsewhere and take engine=server",
}


def check_installed(spec: config.Engine) -> None:
    """Refuse an engine whose package is not here, which is found without loading it.

    Raises:
        UserError: saying how to get it.
    """
    if isinstance(spec, config.Fast) and find_spec(spec.kind) is None:
        raise UserError(f"engine={spec.kind}: it is not installed; {INSTALL[spec.kind]}")
