"""The engines: lm-eval's models, each with what we ask of it besides (`asking.py`). One module for each kind."""

from __future__ import annotations

from importlib.util import find_spec

from im_bench import config
from im_bench.config import UserError


def check_installed(spec: config.Engine) -> None:
    """Refuse an engine whose package is not here, which is found without loading it.

    Raises:
        UserError: naming the extra that brings it.
    """
    if isinstance(spec, config.Fast) and find_spec(spec.kind) is None:
        raise UserError(f"engine={spec.kind}: it is not installed; pip install 'im-bench[{spec.kind}]'")
