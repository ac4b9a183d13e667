"""Files that are replaced as a whole or not at all, and a lock between processes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kinto_signer.errors import BusyError, StorageError

LOCK_POLL_S = 0.05


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The path of an empty temporary file beside `path`, which is removed in the end unless it was moved away."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Make `content` what is at `path`; after an error or a power cut it is the old content or the new, never part of it.

    Raises StorageError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as temporary:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). What was there before is still there.") from error


def remove_leftovers(path: Path) -> None:
    """Remove temporary files beside `path` that a killed process left. Call it while nobody else writes `path`."""
    for leftover in path.parent.glob(f".{path.name}.*.new*"):
        leftover.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make sure that a rename in it outlasts a power cut."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: Path, remaining_s: Callable[[], float]) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits. It is let go when the process ends, however it ends.

    remaining_s: seconds that may still be waited. Raises BusyError when they are over, StorageError.
    """
    import fcntl  # here, because programs on systems without it may still read a cache

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened ({error.strerror}). Nothing was changed.") from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                left = remaining_s()
                if left <= LOCK_POLL_S:
                    raise BusyError(
                        f"{path.parent}: another process is updating this cache. Nothing was changed; try again later."
                    ) from error
                time.sleep(min(LOCK_POLL_S, left))
        yield
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
