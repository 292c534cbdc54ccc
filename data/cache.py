"""The cache folder, and how something gets into it whole or not at all."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import DataError
from data.foreign import reason

STALE_SECONDS = 24 * 3600
WITHIN = "x" * 200  # as long as the names of files in our folders, from there, may become
under_way: set[Path] = set()  # temporary folders of this process


def cache_folder() -> Path:
    """LOUPE_CACHE, or ~/.cache/loupe: everything in it can be built again."""
    folder = user_path(os.environ.get("LOUPE_CACHE") or "~/.cache/loupe", "name another with LOUPE_CACHE")
    if folder.parts[:1] == ("~",):
        raise DataError("there is no home folder to keep the cache in; name another folder with LOUPE_CACHE")
    return folder


def user_path(text: str | os.PathLike, remedy: str = "name another") -> Path:
    """A path as a user wrote it: a leading ~ that the shell has not replaced, as in '--run-dir=~/x', is their home folder.

    Something lies there, or may yet. DataError where nothing can: the name is too long or holds a NUL, links go round in a
    circle, or a folder may not be entered.
    """
    path = Path(os.path.expanduser(text))
    for looked_at in (path, path / WITHIN):
        try:
            os.stat(looked_at)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be opened ({reason(error)}); {remedy}") from None
    return path


Identity = tuple[int, ...]


@contextmanager
def built_whole(folder: Path, instead_of: Identity | None = None) -> Iterator[Path]:
    """A fresh folder to build in, renamed to `folder` at the end; what lies there with the identity `instead_of` is then removed.

    Whoever is killed half-way leaves a temporary folder that nobody trusts, and that is swept away a day later. Of two
    who build the same at once, the first to finish wins; both built the same content.
    """
    temporary = folder.parent / f".building-{folder.name}-{uuid.uuid4().hex[:8]}"
    under_way.add(temporary)
    try:
        temporary.mkdir(parents=True)
        _sweep(folder.parent)
        yield temporary
        if instead_of is not None:
            set_aside(folder, instead_of)
        try:
            temporary.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    except OSError as error:
        raise _told(error, folder.parent) from error
    except RuntimeError as error:  # ArrayRecord's way of telling about a full disk
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise _told(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder.parent) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        under_way.discard(temporary)


def remove_under_way() -> None:
    """Remove what is being built, where the process is about to end. Whoever builds it goes on meanwhile."""
    for temporary in tuple(under_way):
        discard(temporary, temporary.with_name(f"{temporary.name}-gone"))


def discard(folder: Path, gone: Path) -> None:
    """Remove a folder that another thread is about to give its final name: under the name `gone`, or not at all.

    What is removed under its own name is removed by its open descriptor, and so from its final place too.
    """
    try:
        folder.rename(gone)
    except OSError:  # it is not there, or has its final name
        return
    shutil.rmtree(gone, ignore_errors=True)


def identity(folder: Path) -> Identity | None:
    """What tells a folder from another one that took its place; None where there is none.

    An inode is used again once its folder is gone, so that of `meta.json`, which is written last, and its times belong to it.
    """
    try:
        found = (folder.stat().st_ino,)
    except OSError:
        return None
    try:
        meta = (folder / "meta.json").stat()
    except OSError:
        return found
    return (*found, meta.st_ino, meta.st_mtime_ns, meta.st_ctime_ns)


def set_aside(folder: Path, judged: Identity | None = None) -> bool:
    """Remove a folder that is not to be trusted, in one step for whoever looks for it meanwhile; whether it was there.

    With the identity that it had when it was judged, one that somebody else has put in its place since is left there.
    """
    removed = folder.parent / f".building-{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        folder.rename(removed)
        if judged is not None and identity(removed) != judged:
            with suppress(OSError):  # a third one came in between, of the same content
                removed.rename(folder)
                return False
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _told(error, folder.parent) from error
    shutil.rmtree(removed, ignore_errors=True)
    return True


def _told(error: OSError, folder: Path) -> DataError:
    remedy = "set LOUPE_CACHE to a folder that can be written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"no space left in {folder} while preparing data; free some, or {remedy}")
    return DataError(f"cannot prepare data in {folder}: {error.strerror or error}; {remedy}")


def _sweep(parent: Path) -> None:
    for left in parent.glob(".building-*"):
        try:
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # somebody else swept it
            continue
