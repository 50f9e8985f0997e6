"""What every shape is made of: ranges, names, addresses; and the error that a user can mend."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]
"""It becomes part of a folder's name."""


class UserError(ValueError):
    """Something the user can mend; the message names the key, or the file and row, and the remedy."""


class ValueNeeded(UserError):
    """A key has no value."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key}: a value is needed, e.g. {self.key}=VALUE"


class Frozen(BaseModel):
    """A value: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def checked_address(address: str | None, key: str) -> str | None:
    """An address with /v1; it stands in messages and records, so it holds no password."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{key}.base_url={address}: is no address; it begins with http:// or https://, and ends in /v1"
        )
    if parts.username is not None:
        raise ValueError(
            f"{key}.base_url: a password has no place in an address; name its variable in {key}.api_key_env"
        )
    return address
