"""Text of files on a terminal, which would act on some of its characters."""

from __future__ import annotations

SIGNS = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: "\u2421"}
    | {code: "\ufffd" for code in range(0x80, 0xA0)}
)
"""How control characters are shown."""


def printable(text: str) -> str:
    """The text with signs for its control characters; lines and tabs stay."""
    return text.translate(SIGNS)
