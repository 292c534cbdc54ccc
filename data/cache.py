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


@contextmanager
def built_whole(folder: Path) -> Iterator[Path]:
    """A fresh folder to build in, renamed to `folder` at the end.

    Whoever is killed half-way leaves a temporary folder that nobody trusts, and that is swept away a day later. Of two
    who build the same at once, the first to finish wins; both built the same content.
    """
    temporary = folder.parent / f".building-{folder.name}-{uuid.uuid4().hex[:8]}"
    under_way.add(temporary)
    try:
        temporary.mkdir(parents=True)
        _sweep(folder.parent)
        yield temporary
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
    """Remove what is being built, where the process is about to end."""
    for temporary in under_way:
        shutil.rmtree(temporary, ignore_errors=True)


def inode(folder: Path) -> int | None:
    """What tells a folder from another one that took its place; None where there is none."""
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def set_aside(folder: Path, judged: int | None = None) -> bool:
    """Remove a folder that is not to be trusted, in one step for whoever looks for it meanwhile; whether it was there.

    With the inode that it had when it was judged, one that somebody else has put in its place since is left there.
    """
    removed = folder.parent / f".building-{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        folder.rename(removed)
        if judged is not None and inode(removed) != judged:
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
