"""Where to save an image, and the atomic write."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Self

from attrs import frozen

from mountsea_banana._shared.files import part_of

from ._errors import describe
from ._images import SUFFIXES, Image


@frozen
class Destination:
    """Where to save an image: a file, or a folder for a file named after the task.

    A file without a suffix gets the image's own.
    """

    path: Path
    is_folder: bool

    @classmethod
    def parse(cls, path: Path | str) -> Self:
        """Read a path: an existing folder, or a string that ends in a slash, is a folder.

        Raises TypeError, ValueError or OSError for an unusable path.
        """
        target = Path(path)
        return cls(target, target.is_dir() or str(path).endswith(("/", os.sep)))

    def check(self, *, overwrite: bool, any_suffix: bool) -> None:
        """Raise OSError or ValueError if the image cannot be saved, if its path alone shows that.

        Without `overwrite`, the file must not exist. If the path has no suffix, this fails
        if a file exists with every possible suffix, or, with `any_suffix`, with any of them.
        """
        if not self.is_folder and self.path.exists() and not self.path.is_file():
            raise OSError(f"{self.path} is not a regular file")
        if not overwrite:
            self._check_free(any_suffix=any_suffix)
        nearest = self._nearest_folder
        if not nearest.is_dir():
            raise NotADirectoryError(f"{nearest} is not a folder")

    def check_writable(self) -> None:
        """Raise PermissionError if no file can be created there."""
        try:  # root may write everywhere, except where the file system refuses
            tempfile.TemporaryFile(dir=self._nearest_folder).close()
        except OSError as error:
            raise PermissionError(f"the folder {self._nearest_folder} is not writable") from error

    @property
    def _nearest_folder(self) -> Path:
        """The folder of the file, or the nearest one above that exists."""
        folder = self.path if self.is_folder else self.path.parent
        return next(each for each in (folder, *folder.parents) if os.path.lexists(each))

    def _check_free(self, *, any_suffix: bool) -> None:
        files = self._possible_files()
        if any_suffix:
            taken = next(filter(os.path.lexists, files), None)
        else:
            taken = files[0] if files and all(map(os.path.lexists, files)) else None
        if taken:
            raise FileExistsError(f"{taken} exists")

    def _possible_files(self) -> list[Path]:
        if self.is_folder:
            return []  # the name comes from the task
        if self.path.suffix:
            return [self.path]
        return [self.path.with_name(self.path.name + suffix) for suffix in SUFFIXES]

    def write(self, image: Image, task_id: str, *, overwrite: bool) -> Path:
        """Write the image atomically, creating missing folders; return the file's path.

        Raises OSError or ValueError, including FileExistsError, and leaves no partial file.
        """
        file = self.file(image.suffix, task_id)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a file, or a symbolic link to nothing
            raise NotADirectoryError(f"{file.parent} is not a folder") from None
        _write_atomically(image.content, file, overwrite=overwrite)
        return file

    def file(self, suffix: str, task_id: str) -> Path:
        """Return the file for an image with this suffix, which a path's own suffix replaces."""
        if self.is_folder:
            return self.path / f"{safe_name(task_id)}{suffix}"
        if self.path.suffix:
            return self.path
        return self.path.with_name(self.path.name + suffix)


def safe_name(task_id: str) -> str:
    """Return a file name without a suffix for a task's image."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", task_id).lstrip(".")[:100] or "image"


def find_saved(file: Path, path: Path | str, task_id: str) -> Path | None:
    """Return where a task's image would be saved, if that is its `file`, which is still there."""
    try:
        expected = Destination.parse(path).file(file.suffix, task_id)
        return expected if file.is_file() and file.samefile(expected) else None
    except (TypeError, ValueError, OSError):
        return None


def reason(error: Exception) -> str:
    """Return why an image cannot be saved, from an error of this module or of the system."""
    is_ours = isinstance(error, OSError) and error.errno is None
    return str(error) if is_ours else describe(error)


def _write_atomically(content: bytes, file: Path, *, overwrite: bool) -> None:
    claimed = None
    with part_of(file) as part:
        try:
            with part.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if not overwrite:
                # Claims the name, or fails if another process was first.
                file.open("xb").close()
                claimed = file
            part.replace(file)
            claimed = None
        finally:
            if claimed:
                claimed.unlink(missing_ok=True)
