"""The interpreter's own refusal of files, sockets, processes and foreign functions."""

from __future__ import annotations

import os
import sys

from im_bench.evaluation.jail.kernel import readable_folders

FOREIGN = set("ctypes _ctypes _posixsubprocess _posixshmem _multiprocessing sqlite3 _sqlite3".split())
FOREIGN |= set("dbm _dbm _gdbm _ssl _testcapi _xxsubinterpreters _interpreters".split())
"""Modules whose C code opens or starts things without telling the hook."""
IN_SCRATCH = {
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "os.chdir": 1,
}
"""Events allowed inside the scratch folder, and how many of their arguments are paths."""
LOOKS = {"os.listdir", "os.scandir"}
REFUSED = (
    "os.",
    "socket.",
    "subprocess.",
    "ctypes.",
    "pty.",
    "signal.",
    "resource.",
    "fcntl.",
    "syslog.",
    "sqlite3.",
)


def keep_out(scratch: str) -> None:
    """From now on Python code in this process reads `readable_folders`, uses `scratch`, and no more."""
    for name in FOREIGN & sys.modules.keys():
        del sys.modules[name]
    own = os.path.realpath(scratch)
    readable = (*(os.path.realpath(folder) for folder in readable_folders()), own)

    def inside(path: object, folders: tuple[str, ...]) -> bool:
        if path is None or isinstance(path, int):  # the current folder; what is open already
            return True
        name = os.fsdecode(path)  # type: ignore[arg-type]  # the interpreter has seen that it is a path
        place = os.path.realpath(name)
        return ".." not in name.split("/") and any(f"{place}/".startswith(f"{folder}/") for folder in folders)

    def allowed(event: str, arguments: tuple[object, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            # An open folder is a second way to name what lies in it, so only scratch folders can be opened.
            reads = isinstance(flags, int) and not flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_DIRECTORY
            )
            return inside(path, readable if reads and not _is_folder(path) else (own,))
        if event == "import":
            return arguments[0] not in FOREIGN
        if event in IN_SCRATCH:
            return all(inside(path, (own,)) for path in arguments[: IN_SCRATCH[event]])
        return (event in LOOKS and inside(arguments[0], readable)) or not event.startswith(REFUSED)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not allowed(event, arguments):
            raise PermissionError(f"{event} is not allowed here")

    sys.addaudithook(hook)


def _is_folder(path: object) -> bool:
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.isdir(path)
