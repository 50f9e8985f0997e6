"""What holds a checkpoint while it is asked: transformers, vLLM, SGLang, or a server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from im_bench.config.values import Count, Frozen, Positive, checked_address


class HF(Frozen):
    """transformers, in process."""

    kind: Literal["hf"]
    batch_size: int | Literal["auto"]
    """Prompts at once; `auto` fills the memory of the device. Where that is too many, it is halved."""

    @field_validator("batch_size", mode="before")
    @classmethod
    def is_auto_or_a_number(cls, value: object) -> object:
        if value != "auto" and (not isinstance(value, int) or value < 1):
            raise ValueError(f"engine.batch_size={value}: give a number of prompts from 1, or auto")
        return value


class Fast(Frozen):
    """vLLM or SGLang, in process: engines for GPUs."""

    kind: Literal["vllm", "sglang"]
    gpus: Count
    """Over which each layer is split."""
    memory: Annotated[float, Field(gt=0, le=1)]
    """Share of a GPU's memory that it takes."""
    max_length: Count | None
    """Tokens of prompt and answer together; null is what the model holds."""


class Server(Frozen):
    """A completions server that somebody started for the checkpoint: vLLM's, or any that speaks OpenAI's protocol."""

    kind: Literal["server"]
    base_url: str
    """Up to and with /v1."""
    model: str | None
    """The served name; null takes the one that is the checkpoint by its name or its `root`."""
    api_key_env: str | None
    """Name of the environment variable that holds the key; the key itself is never in a config."""
    concurrency: Count
    """Requests at once."""
    timeout_seconds: Positive
    retries: Count
    """Of one request that fails; then the benchmark does."""
    max_length: Count | None
    """Tokens of prompt and answer together; null is what the model holds, and the server must."""

    @field_validator("base_url")
    @classmethod
    def it_is_an_address(cls, value: str) -> str:
        return checked_address(value, "engine") or value


Engine = Annotated[HF | Fast | Server, Field(discriminator="kind")]
