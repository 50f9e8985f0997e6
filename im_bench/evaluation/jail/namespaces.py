"""A view of the system with nothing in it: Linux namespaces, made by any user where the kernel allows."""

from __future__ import annotations

import os
import struct

from im_bench.evaluation.jail.kernel import SCRATCH_MIB, libc, readable_folders

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
NOSUID, NODEV, BIND, RECURSIVE, PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
NOBODY = 65534
NEWROOT = "/proc"
"""Where the new root is put together: the one folder that exists everywhere and holds no Python."""


class Namespaces:
    """Entered once by a server: no network, own processes, and a root of read-only libraries.

    Raises:
        OSError: where the kernel does not allow it.
    """

    def __init__(self) -> None:
        user, group = os.getuid(), os.getgid()
        libc("unshare", NEWUSER | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{NOBODY} {user} 1")
        _write("/proc/self/gid_map", f"{NOBODY} {group} 1")
        child = os.fork()
        if child:  # the child is process 1 of the new namespace and goes on; this one waits for its end
            os._exit(min(1, abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))))
        libc("prctl", 1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        self._own_processes = os.open("/proc/self/ns/pid", os.O_RDONLY)
        _change_root()

    def fork(self) -> int:
        """Like `os.fork`, but the child is alone: process 1 of a namespace that ends with it."""
        libc("unshare", NEWPID)
        child = os.fork()
        if child:
            libc("setns", self._own_processes, NEWPID)
        return child

    def private_scratch(self) -> str:
        """Give the calling process an empty /tmp that nobody else sees and that ends with it."""
        libc("unshare", NEWNS)
        _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, f"size={SCRATCH_MIB}m,nr_inodes=4096,mode=0700")
        return "/tmp"


def _change_root() -> None:
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    folders = readable_folders()
    _mount("tmpfs", NEWROOT, "tmpfs", NOSUID | NODEV, "size=1m,mode=0755")
    for folder in folders:
        if any(folder.startswith(f"{other}/") for other in folders):
            continue
        os.makedirs(os.path.dirname(NEWROOT + folder), exist_ok=True)
        if os.path.islink(folder):
            os.symlink(os.readlink(folder), NEWROOT + folder)
        else:
            os.mkdir(NEWROOT + folder)
            _mount(folder, NEWROOT + folder, None, BIND | RECURSIVE)
    os.mkdir(f"{NEWROOT}/tmp")
    os.chdir(NEWROOT)
    libc("pivot_root", b".", b".")
    libc("umount2", b".", 2)  # MNT_DETACH: the old root, which lies on top of the new one
    os.chdir("/")
    attributes = struct.pack("QQQQ", 0x7, 0, 0, 0)  # MOUNT_ATTR_RDONLY | NOSUID | NODEV
    libc("syscall", 442, -100, b"/", 0x8000, attributes, len(attributes))  # mount_setattr, AT_RECURSIVE


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    libc("mount", *words[:3], flags, words[3])


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
