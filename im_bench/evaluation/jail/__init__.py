"""The small interpreters that run model-written programs: standard library only, started by `sandbox.py`.

What confines a program, strongest first; a machine gets the first it has:

- `namespaces` (Linux 5.12+ that lets this user make them; no root): nothing outside the standard library, the
  shared libraries and an empty private /tmp of 16 MiB exists for the program; no network, no other process.
- `landlock` (Linux 5.13+, usual in containers): the same files, but the private folder lies on disk, its
  total size unlimited until it is deleted, and `os.stat` sees more than can be opened.
- `audit` (macOS, old or other Linux): a hook inside the interpreter refuses files, sockets, processes and
  foreign functions. It stops what models write, not an attacker who corrupts the interpreter.

Under `namespaces` and `landlock`, and under `audit` where Linux has it, the kernel also refuses every system
call that is not computing: processes, threads, programs, signals, sockets, mounts, shared memory. A program
is one thread. Everywhere: limits on CPU seconds, file size and open files, and on memory except on macOS,
which has no such limit.
"""
