"""Where the image goes: a file, a folder, a name with placeholders, or stdout."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from mountsea_banana.client._files import Destination, find_saved, reason, safe_name

from ._failures import OVERWRITE


def expand(output: str, task_id: str, saved: Path | None = None) -> str:
    """Return a path with its placeholders replaced.

    `{n}` is the first number from 1 with which no file exists, except the one that the task's image
    is already `saved` to.
    """
    path = output.replace("{task_id}", safe_name(task_id))
    if "{n}" not in path:
        return path
    paths = (path.replace("{n}", str(number)) for number in itertools.count(1))
    return next(each for each in paths if not _is_taken(each, task_id, saved))


def _is_taken(path: str, task_id: str, saved: Path | None) -> bool:
    if saved and find_saved(saved, path, task_id):
        return False
    try:
        Destination.parse(path).check(overwrite=False, any_suffix=True)
    except FileExistsError:
        return True
    except (ValueError, OSError):  # it is reported later
        return False
    return False


def obstacle(path: str, *, overwrite: bool) -> str | None:
    """Return why an image could not be saved, if that is known in advance."""
    try:
        destination = Destination.parse(path)
        destination.check(overwrite=overwrite, any_suffix=True)
        destination.check_writable()
    except FileExistsError as error:
        return f"{error}; {OVERWRITE}"
    except (ValueError, OSError) as error:
        return reason(error)
    return None


def unknown_placeholder(output: str) -> str | None:
    """Return a placeholder that is neither `{task_id}` nor `{n}`."""
    found = re.findall(r"\{[^{}]*\}", output)
    return next((each for each in found if each not in ("{task_id}", "{n}")), None)
