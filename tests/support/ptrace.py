"""Kill a process at its n-th system call that writes, without any tool that has to be installed (Linux, ptrace)."""

import ctypes
import errno
import os
import platform
import signal
import struct
from collections.abc import Callable

TRACEME, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
OPTION_SYSGOOD, OPTION_EXITKILL = 1, 1 << 20
ENTRY = 1
WRITES = {
    "x86_64": {
        1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 74: "fsync", 75: "fdatasync", 77: "ftruncate",
        82: "rename", 264: "renameat", 316: "renameat2", 86: "link", 265: "linkat", 87: "unlink", 263: "unlinkat",
        83: "mkdir", 258: "mkdirat", 90: "chmod", 268: "fchmodat",
    },
    "aarch64": {
        64: "write", 68: "pwrite64", 66: "writev", 70: "pwritev", 82: "fsync", 83: "fdatasync", 46: "ftruncate",
        38: "renameat", 276: "renameat2", 37: "linkat", 35: "unlinkat", 34: "mkdirat", 53: "fchmodat",
    },
}  # fmt: skip


def run_and_kill(work: Callable[[], None], at: int) -> tuple[bool, str]:
    """Fork, run `work` and kill it when it is about to make its `at`-th writing system call (the first is 1).

    Returns whether it was killed, and the name of that call. Raises RuntimeError if `work` raises.
    """
    calls = WRITES[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def ptrace(request: int, pid: int, address: int | None, value: object) -> None:
        if libc.ptrace(request, pid, address, value) < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"ptrace: {os.strerror(code)} ({errno.errorcode.get(code)})")

    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            status = 0
        finally:
            os._exit(status)
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, None, OPTION_SYSGOOD | OPTION_EXITKILL)
    seen, passed_on = 0, 0
    info = ctypes.create_string_buffer(88)
    while True:
        ptrace(SYSCALL, pid, None, passed_on)
        _, status = os.waitpid(pid, 0)
        passed_on = 0
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if status != 0:
                raise RuntimeError(f"the work ended by itself with the status {status}")
            return False, ""
        stop = os.WSTOPSIG(status)
        if stop != signal.SIGTRAP | 0x80:
            passed_on = stop
            continue
        ptrace(GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
        number = struct.unpack_from("Q", info.raw, 24)[0]
        if info.raw[0] == ENTRY and number in calls:
            seen += 1
            if seen == at:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True, calls[number]
