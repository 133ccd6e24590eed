"""A downloaded picture: is it one, what is its file called, and how is it written."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from ._errors import DownloadError
from ._exchange import Outcome, Reply
from ._responses import describe

if TYPE_CHECKING:
    from ._snapshots import Look

MAX_BYTES = 64 * 1024 * 1024
TIMEOUT = 60.0

# The first bytes that each format's specification prescribes.
_FORMATS = (
    (".png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    (".jpg", re.compile(rb"\xff\xd8\xff")),
    (".webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    (".gif", re.compile(rb"GIF8[79]a")),
    (".avif", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
)


@frozen
class Picture:
    """The bytes of a picture, and the suffix of its file."""

    content: bytes = field(repr=False)
    suffix: str


def address(look: Look) -> str:
    """Return the address of a task's picture; raise DownloadError where there is none to fetch."""
    if not look.image_urls:
        raise DownloadError(
            f"task {look.task_id} has no picture: its status is {look.status}",
            url=None,
            task_id=look.task_id,
        )
    url = look.image_urls[0]
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web:
        raise DownloadError(
            f"the picture of task {look.task_id} is not at an http(s) address: {url[:200]!r}",
            url=url,
            task_id=look.task_id,
        )
    return url


def judge(outcome: Outcome, url: str, task_id: str) -> Picture:
    """Return the picture that a download brought; raise DownloadError where it is none."""

    def refuse(reason: str, cause: Exception | None = None) -> DownloadError:
        error = DownloadError(
            f"the picture of task {task_id} could not be fetched from {url}: {reason}",
            url=url,
            task_id=task_id,
        )
        error.__cause__ = cause
        return error

    if not isinstance(outcome, Reply):
        raise refuse(describe(outcome), outcome)
    if outcome.status_code in (403, 404, 410):
        raise refuse(
            f"{outcome.status_code}, so the link may have expired: look at the task again for a "
            f"fresh one, client.task({task_id!r}).fetch()"
        )
    if outcome.status_code != 200:
        raise refuse(f"the server answered {outcome.status_code}")
    if outcome.fault:
        raise refuse(describe(outcome.fault), outcome.fault)
    suffix = _suffix(outcome.body)
    if suffix:
        return Picture(outcome.body, suffix)
    raise refuse(f"it is no picture but {outcome.headers.get('content-type', 'of no stated type')}")


def is_picture(content: bytes) -> bool:
    """Say whether bytes are the beginning of a picture."""
    return _suffix(content) is not None


def _suffix(content: bytes) -> str | None:
    return next((suffix for suffix, magic in _FORMATS if magic.match(content)), None)


def check_free(path: Path | str, look: Look, *, overwrite: bool) -> None:
    """Raise DownloadError before a download whose file must not be written."""
    try:
        target = Path(path)
        taken = target.suffix and target.is_file() and not overwrite
    except (TypeError, ValueError, OSError) as error:
        raise _unwritable(path, look, describe(error)) from error
    if taken:
        raise _unwritable(path, look, "it exists; pass overwrite=True to replace it")


def obstacle(path: str, *, overwrite: bool) -> str | None:
    """Say what would keep a picture from being saved as `path`, as far as it shows beforehand.

    Where `path` has no suffix, the picture brings it: no file may stand under any of them.
    """
    try:
        target = Path(path)
        names = [target]
        if _is_folder(path):
            names = []  # the file is named after a task that is still to come
        elif not target.suffix:
            names = [target.with_name(target.name + suffix) for suffix, _ in _FORMATS]
        taken = [str(name) for name in names if os.path.lexists(name)]
        if taken and not overwrite:
            return f"{taken[0]} exists; pass overwrite=True to replace it"
        folder = target if _is_folder(path) else target.parent
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        if not os.access(nearest, os.W_OK | os.X_OK):
            return f"the folder {nearest} is not writable"
    except (ValueError, OSError) as error:
        return describe(error)
    return None


def _is_folder(path: Path | str) -> bool:
    return Path(path).is_dir() or str(path).endswith(("/", os.sep))


def write(picture: Picture, path: Path | str, look: Look, *, overwrite: bool) -> Path:
    """Write a picture, whole or not at all; return the path of the file.

    `path` names the file; a folder means a file in it named after the task; a missing suffix is
    the format's. Raises DownloadError.
    """
    try:
        target = Path(path)
        if _is_folder(path):
            name = re.sub(r"[^A-Za-z0-9._-]", "_", look.task_id).lstrip(".")[:100] or "picture"
            target = target / f"{name}{picture.suffix}"
        elif not target.suffix:
            target = target.with_name(target.name + picture.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(picture.content, target, overwrite=overwrite)
    except FileExistsError as error:
        raise _unwritable(path, look, "it exists; pass overwrite=True to replace it") from error
    except (TypeError, ValueError, OSError) as error:
        raise _unwritable(path, look, describe(error)) from error
    return target


def _write_whole(content: bytes, target: Path, *, overwrite: bool) -> None:
    part = target.with_name(f".{secrets.token_hex()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            # Takes the name, or fails where another process was first.
            target.open("xb").close()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _unwritable(path: object, look: Look, reason: str) -> DownloadError:
    return DownloadError(
        f"the picture of task {look.task_id} could not be saved as {str(path)!r}: {reason}",
        url=look.image_urls[0] if look.image_urls else None,
        task_id=look.task_id,
    )
