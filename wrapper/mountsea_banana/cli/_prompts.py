"""Reading the prompt: from the arguments, a file or stdin."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import click

from mountsea_banana._shared.text import is_blank

_URL_OR_FILE = re.compile(r"[:/\\]|\.\w+$")


def read_prompt(words: Sequence[str], file: str | None, *, allow_empty: bool) -> str:
    """Return the prompt that is the only one of `words`, or in a file; `-` is stdin.

    Raises UsageError.
    """
    if (file is None) == (not words):
        raise click.UsageError("pass a PROMPT, or - to read it from stdin, or --prompt-file")
    if len(words) > 1:
        quoted = shlex.quote(" ".join(words))
        raise click.UsageError(f"the prompt must be one argument: put it in quotes, as in {quoted}")
    source = words[0] if file is None else file
    prompt = _read(source) if file is not None or source == "-" else source
    if is_blank(prompt) and not allow_empty:
        raise click.UsageError("the prompt is empty; pass --allow-empty if you mean it")
    return prompt


def split_urls(words: Sequence[str], file: str | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the words of the prompt and the URLs. With a prompt file, all are URLs."""
    if file is not None:
        return [], words
    # More than one is a prompt without quotes, unless it could be the URL of an image.
    count = next((n for n, word in enumerate(words) if n and _URL_OR_FILE.search(word)), len(words))
    return (words[:count], words[count:]) if count < len(words) else (words[:1], words[1:])


def _read(source: str) -> str:
    try:
        with click.open_file(source, "rb") as file:
            content: bytes = file.read()
        return content.decode("utf-8-sig").rstrip("\r\n")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: stdin is closed
        name = "stdin" if source == "-" else source
        raise click.UsageError(f"the prompt could not be read from {name}: {error}") from error
