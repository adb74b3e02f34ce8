"""The preloaded disk that fails: how to build it, and how to have it fail."""

import ctypes
import errno
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class Call(IntEnum):
    WRITE = 1
    SYNC = 2


class Manner(IntEnum):
    NEVER = 0
    ONCE = 1  # with EIO
    FROM_THEN_ON = 2  # with ENOSPC
    DIE = 3  # killed in the midst of it


ERRNOS = {Manner.NEVER: 0, Manner.ONCE: errno.EIO, Manner.FROM_THEN_ON: errno.ENOSPC, Manner.DIE: 0}


def compiler():
    """Find a compiler of C; None: there is none here."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")


def build(folder):
    """Build what is to be preloaded, and return its path."""
    library = folder / "failing_disk.so"
    command = [compiler(), "-x", "c", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return library


class Disk:
    """The disk of this process, in which it is preloaded."""

    def __init__(self):
        self._library = ctypes.CDLL(None)
        self._library.disk_fail.argtypes = [ctypes.c_char_p, *[ctypes.c_int] * 4]

    def fail(self, folder, call, at, manner):
        """Have the call number `at` on files under a folder go wrong, counted from now on."""
        self._library.disk_fail(str(folder).encode(), call, at, manner, ERRNOS[manner])

    def mend(self):
        """Work from now on, and return how many calls there were."""
        calls = self._library.disk_calls()
        self._library.disk_fail(b"", 0, 0, Manner.NEVER, 0)
        return calls
