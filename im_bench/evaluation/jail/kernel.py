"""What a process gives up for good before it runs foreign code, by rules that the kernel keeps."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import resource
import struct
import sys
from typing import NamedTuple

SCRATCH_MIB = 16
"""The largest file a program may write; in its own namespaces, all its files together."""


class Limits(NamedTuple):
    """What one process may use."""

    cpu_seconds: float
    memory_mib: int


class Architecture(NamedTuple):
    """What the filter must know of a processor: its number, and that of every forbidden system call."""

    audit: int
    forbidden: tuple[int, ...]


# clone execve execveat kill tkill tgkill ptrace process_vm_readv process_vm_writev socket socketpair
# shmget msgget semget unshare setns mount umount2 pivot_root chroot bpf perf_event_open memfd_create
# userfaultfd keyctl add_key request_key setrlimit prlimit64, and fork vfork where they exist.
X86_64 = "56 59 322 62 200 234 101 310 311 41 53 29 68 64 272 308 165 166 155 161 321 298 319 "
X86_64 += "323 250 248 249 160 302 57 58"
ARM64 = "220 221 281 129 130 131 117 270 271 198 199 194 186 190 97 268 40 39 41 51 280 241 279 "
ARM64 += "282 219 217 218 164 261"
# pidfd_send_signal io_uring_setup open_tree move_mount fsopen fsconfig fsmount fspick pidfd_open clone3
# pidfd_getfd mount_setattr memfd_secret
EVERYWHERE = "424 425 428 429 430 431 432 433 434 435 438 442 447"


def _numbers(*lists: str) -> tuple[int, ...]:
    return tuple(int(number) for text in lists for number in text.split())


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, _numbers(X86_64, EVERYWHERE)),
    "aarch64": Architecture(0xC00000B7, _numbers(ARM64, EVERYWHERE)),
}


def libc(function: str, *arguments: object) -> int:
    """Call a function of the C library.

    Raises:
        OSError: with the function's name, where it returns a negative number.
    """
    # A library kept in a variable would be at the program's hand: it is opened anew for each call.
    result = int(getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")
    return result


def readable_folders() -> list[str]:
    """What Python itself needs: the standard library and the shared libraries; some lie in others."""
    python = [os.path.dirname(os.__file__), f"{sys.base_prefix}/lib", f"{sys.base_exec_prefix}/lib"]
    wanted = [*python, "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"]
    return sorted({os.path.normpath(folder) for folder in wanted if os.path.isdir(folder)})


def limit(limits: Limits) -> None:
    """Set the limits of this process; whole CPU seconds, rounded up, are all the kernel knows."""
    bounds = {
        resource.RLIMIT_CPU: math.ceil(limits.cpu_seconds),
        resource.RLIMIT_FSIZE: SCRATCH_MIB << 20,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    if sys.platform != "darwin":  # macOS refuses to set it
        bounds[resource.RLIMIT_AS] = limits.memory_mib << 20
    for name, value in bounds.items():
        hard = resource.getrlimit(name)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (most, most))


def can_filter() -> bool:
    """Whether this system and processor have the filter of system calls."""
    return sys.platform == "linux" and platform.machine() in ARCHITECTURES


def give_up_privileges() -> None:
    """Drop every capability, and the chance of gaining one; Linux only."""
    libc("capset", struct.pack("Ii", 0x20080522, 0), bytes(24))
    libc("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    libc("prctl", 4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: nobody else may look into its memory


def filter_system_calls() -> None:
    """Let the kernel refuse, with EPERM, all that is not computing; needs `give_up_privileges` before it."""
    architecture = ARCHITECTURES[platform.machine()]
    code = ctypes.create_string_buffer(_filter(architecture))
    program = struct.pack("HP", (len(code) - 1) // 8, ctypes.addressof(code))
    libc("prctl", 22, 2, program, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _filter(architecture: Architecture) -> bytes:
    """The filter in the kernel's BPF, 8 bytes a step: operation, jump if true, jump if false, operand."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    tests = [
        (at_least, 0x40000000),
        *((equal, number) for number in architecture.forbidden),
    ]  # from there on: x32
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture.audit), (give, 0, 0, 0x80000000), (load, 0, 0, 0)]
    steps += [(test, len(tests) - place, 0, operand) for place, (test, operand) in enumerate(tests)]
    steps += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050001)]  # allow; refuse with EPERM
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def landlock_version() -> int:
    """Of the kernel's Landlock.

    Raises:
        OSError: it has none.
    """
    return libc("syscall", 444, None, 0, 1)  # landlock_create_ruleset, asked for its version


def restrict_files(scratch: str) -> None:
    """Landlock: from now on `readable_folders` can be read, `scratch` used, and no more.

    Needs `give_up_privileges` before it.
    """
    everything = (
        1 << (13, 14, 15, 15, 16)[min(landlock_version(), 5) - 1]
    ) - 1  # each version knows more kinds of access
    rules = libc("syscall", 444, struct.pack("Q", everything), 8, 0)
    for folder, access in [(scratch, everything), *((folder, 0b1100) for folder in readable_folders())]:
        place = os.open(folder, os.O_PATH)
        libc("syscall", 445, rules, 1, struct.pack("=Qi", access, place), 0)  # landlock_add_rule
        os.close(place)
    libc("syscall", 446, rules, 0)  # landlock_restrict_self
    os.close(rules)
