"""Files that are replaced as a whole or not at all, and a lock between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kinto_signer.errors import BusyError, ConfigurationError, StorageError, TooLargeError

LOCK_POLL_S = 0.05


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The path of an empty temporary file beside `path`, which is removed in the end unless it was moved away."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        with contextlib.suppress(PermissionError):  # FAT has no such modes
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


def write_new(path: Path, content: bytes) -> None:
    """The same for a file that a person named: its folder has to be there, and a link or a device is not replaced.

    Raises ConfigurationError, StorageError.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path}: there is no folder {path.parent}. Nothing was written.")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ConfigurationError(f"{path}: no ordinary file, and not replaced by one. Nothing was written.")
    write_atomically(path, content)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of an ordinary file, which a link may lead to. Nothing is opened that might wait, or do something.

    Raises ConfigurationError if it cannot be read, TooLargeError.
    """
    try:
        _refuse_extraordinary(path, path.stat())
        with open(path, "rb", opener=_open_at_once) as stream:
            _refuse_extraordinary(path, os.fstat(stream.fileno()))
            content = stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(content) > max_bytes:
        raise TooLargeError(
            f"{path}: more than {max_bytes} bytes. Nothing was accepted. If it is meant, raise `max_size_mib` in the "
            "configuration."
        )
    return content


def _refuse_extraordinary(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path}: no ordinary file. Nothing was read.")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


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
        except OSError as error:
            if error.errno != errno.EINVAL:  # file systems that cannot do this for a directory
                raise
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
