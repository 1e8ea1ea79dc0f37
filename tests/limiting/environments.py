"""The environments in which tests/limits starts the executables: each takes one thing away.

An environment is applied in the child between fork and exec; it changes nothing outside that child. Some
need root, which alone can hide /proc and become another user.
"""

import ctypes
import dataclasses
import os
import pathlib
import re
import resource
from collections.abc import Callable, Mapping

# From here on every trial has a user of its own, whose limit of processes counts only its own.
FIRST_USER = 1_000_000

# From linux/prctl.h, linux/seccomp.h, linux/audit.h and linux/filter.h.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x0005_0000, 0x7FFF_0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
EPERM = 1

# From linux/sched.h and linux/mount.h.
CLONE_NEWNS = 0x0002_0000
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000

CALL_NUMBERS = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

# Without these no program reaches its first line, or it cannot end.
INDISPENSABLE = frozenset(
    "access arch_prctl brk close execve exit exit_group fstat futex lseek madvise mmap mprotect munmap newfstatat openat poll "
    "pread64 read restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address sigaltstack "
    "write".split()
)

# What the short form blocks: one call or two of each kind that the executables use beyond.
SHORT = (
    "accept4 bind clock_nanosleep clone3 connect epoll_create1 epoll_ctl epoll_wait eventfd2 flock ftruncate getrandom kill "
    "memfd_create pidfd_open pipe2 prctl prlimit64 recvmsg sched_setattr sendto socket socketpair statx"
).split()

# Where nothing listens: spans that go there are lost, and the threads that send them are needed all the same.
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@dataclasses.dataclass(frozen=True)
class Environment:
    """What is taken away, and the function that takes it."""

    name: str
    apply: Callable[[], None]
    # What the three streams of the child are: a name that `trials` understands, or None for a file.
    stdout: str | None = None
    stderr: str | None = None
    # An allocation that fails ends a Rust program by SIGABRT, as docs/operations.md documents.
    may_abort: bool = False
    # What the child has in its environment besides.
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Only for the commands that stand for the others.
    is_narrow: bool = False


def every(is_short):
    """Returns all environments that can be made here, and a line for each kind that cannot."""
    found, left_out = [], []
    found += limits("file size", resource.RLIMIT_FSIZE, (0, 4096, 1 << 20) if is_short else (0, 1, 4096, 1 << 16, 1 << 20, 1 << 23))
    # With fewer than 4 the loader finds no library.
    found += limits("descriptors", resource.RLIMIT_NOFILE, (4, 6, 7, 9, 16, 24, 40) if is_short else (*range(4, 48), 64, 96, 128, 256))
    megabytes = (128, 192, 512) if is_short else (*range(128, 512, 16), 640, 768, 1024, 1536, 2048)
    found += limits("address space, MB", resource.RLIMIT_AS, megabytes, unit=1 << 20, may_abort=True)
    found += streams()
    if os.geteuid() == 0:
        counts = (1, 2, 4, 8, 17) if is_short else range(1, 33)
        found += limits("processes", resource.RLIMIT_NPROC, counts, before=become_user)
        found += limits("processes and a collector", resource.RLIMIT_NPROC, counts, before=become_user, variables=COLLECTOR)
        found.append(Environment("no /proc", hide_proc))
    else:
        left_out.append("left out: processes and no /proc, which only root can take away")
    numbers = call_numbers()
    if numbers:
        names = SHORT if is_short else sorted(set(numbers) - INDISPENSABLE)
        blocked = [(f"blocked {name}", blocks(numbers[name])) for name in names if name in numbers]
        found += [Environment(*named, is_narrow=is_short) for named in blocked]
    else:
        left_out.append(f"left out: blocked system calls, since {CALL_NUMBERS} is not there")
    return found, left_out


def limits(name, kind, values, unit=1, before=lambda: None, **more):
    def limit(value):
        def apply():
            resource.setrlimit(kind, (value * unit, value * unit))
            before()
        return apply

    return [Environment(f"{name} {value:,}", limit(value), **more) for value in values]


def streams():
    """What a program meets where its output goes."""
    for kind in ("closed", "no reader", "full device", "full pipe"):
        yield Environment(f"stdout: {kind}", lambda: None, stdout=kind)
        yield Environment(f"stderr: {kind}", lambda: None, stderr=kind)
        yield Environment(f"both: {kind}", lambda: None, stdout=kind, stderr=kind)


def become_user():
    os.setgroups([])
    os.setgid(FIRST_USER + os.getpid())
    os.setuid(FIRST_USER + os.getpid())


def hide_proc():
    libc = ctypes.CDLL(None, use_errno=True)
    expect_zero(libc.unshare(CLONE_NEWNS))
    expect_zero(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    expect_zero(libc.mount(b"none", b"/proc", b"tmpfs", 0, None))


def call_numbers():
    """Returns the numbers of the system calls by name; empty on another architecture."""
    if not CALL_NUMBERS.exists():
        return {}
    found = re.findall(r"#define __NR_(\w+) (\d+)", CALL_NUMBERS.read_text(encoding="ascii"))
    return {name: int(number) for name, number in found}


def blocks(number):
    """Returns the function after which this call fails with EPERM, in the child and in all of its own children."""
    class Instruction(ctypes.Structure):
        _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]

    # The number of the call is the first word of struct seccomp_data.
    instructions = (Instruction * 4)(
        Instruction(LOAD_WORD, 0, 0, 0),
        Instruction(JUMP_IF_EQUAL, 0, 1, number),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | EPERM),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = Program(len(instructions), instructions)

    def apply():
        libc = ctypes.CDLL(None, use_errno=True)
        expect_zero(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        expect_zero(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))

    return apply


def expect_zero(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
