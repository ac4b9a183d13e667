"""New files that are there as a whole or not at all, and that never replace others: keys and certificates."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kinto_signer.errors import ConfigurationError, StorageError

SECRET = 0o600
PUBLIC = 0o644

_NOTHING = "Nothing was made."
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@dataclass(frozen=True)
class NewFile:
    """What is to be in a file. mode: `SECRET` or `PUBLIC`."""

    content: bytes = field(repr=False)
    mode: int


def write_new_files(files: Mapping[Path, NewFile]) -> None:
    """Make all of these files, or none of them.

    Raises ConfigurationError where one of them is there already or cannot be made, StorageError where the disk is full or
    broken; nothing is left behind then. A process that is killed leaves complete files, or ones with the ending ``.unfinished``.
    """
    made: list[Path] = []
    try:
        for path, new in files.items():
            _make(path, new)
            made.append(path)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def make_folder(folder: Path, files: Mapping[str, NewFile]) -> None:
    """Make `folder` with these files in it, by their names, in one step: it appears with all of them, or not at all.

    Raises what `write_new_files` raises. What a process that was killed left of this folder is removed by the next one.
    """
    if folder.is_symlink() or _holds_something(folder):
        raise _is_there(folder)
    with _as_our_errors(folder), _unfinished_folder(folder) as unfinished:
        for name, new in files.items():
            _write(unfinished / name, new)
        _sync(unfinished)
        try:
            unfinished.rename(folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise _is_there(folder) from error
            raise
        _sync(folder.parent)


def _holds_something(folder: Path) -> bool:
    with _as_our_errors(folder):
        return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


@contextlib.contextmanager
def _unfinished_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, locked while it is in use, and removed at the end if it still is there."""
    import fcntl

    start = f".{folder.name}.unfinished-"
    for left in folder.parent.glob(f"{start}*"):
        _remove_if_left(left)
    made = Path(tempfile.mkdtemp(prefix=start, dir=folder.parent))
    descriptor = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def _remove_if_left(folder: Path) -> None:
    """Remove an unfinished folder whose process has ended."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _make(path: Path, new: NewFile) -> None:
    with _as_our_errors(path):
        if os.path.lexists(path):
            raise FileExistsError
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent)
        os.close(descriptor)
        unfinished = Path(name)
        try:
            _write(unfinished, new)
            _give_name(unfinished, path)
            _sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def _give_name(unfinished: Path, path: Path) -> None:
    """Rename, unless there is something of that name."""
    try:
        path.hardlink_to(unfinished)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links, as on most USB sticks.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET))
        unfinished.replace(path)


def _write(path: Path, new: NewFile) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, SECRET)
    with os.fdopen(descriptor, "wb") as file:
        file.write(new.content)
        file.flush()
        if os.name == "posix":
            os.fchmod(descriptor, new.mode)
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _as_our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _is_there(path) from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _NO_ROOM:
            raise StorageError(f"{path} cannot be written: {why}. {_NOTHING} Make room, then try again.") from error
        raise ConfigurationError(f"{path} cannot be written ({why}). {_NOTHING}") from error


def _is_there(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is there already and is never overwritten. {_NOTHING}")
