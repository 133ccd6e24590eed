"""Keeping the API key out of what servers send back, and out of what libraries log about it."""

from __future__ import annotations

import contextlib
import html
import logging
import re
from contextvars import ContextVar

import httpx

from ._errors import text_of

# They log responses: httpx the reason phrase, httpcore the headers and what it could not parse, and
# hpack the headers of HTTP/2.
_LOGGERS = ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "hpack.table")

# Every escaped form of a character has one of these.
_ESCAPES = ("\\", "%", "&")

_MODULES = (
    "builtins",
    "zlib",
    "mountsea_banana.client._exchange",
    "mountsea_banana.client._threads",
)

_MIN_PART = 6
"""Characters; a shorter beginning of a key tells nothing."""

_current: ContextVar[list[Redactor]] = ContextVar("mountsea_banana_redactor", default=[])  # noqa: B039


class Redactor:
    """Removes the API key from text: verbatim, in any case, escaped, percent-encoded or as hex."""

    def __init__(self, key: str) -> None:
        self._lower = key.lower()
        # h2 shows the first 20 bytes of what a server says about the end of a connection.
        start = key[:_MIN_PART]
        starts = {start, start.lower(), start.upper()} if len(key) >= _MIN_PART else set()
        self._hex = {each.encode().hex() for each in starts}
        forms = ["".join(map(_forms, key)), *(f"{each}[0-9a-f]*" for each in self._hex)]
        self._pattern = re.compile("|".join(forms), re.IGNORECASE)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_clean)
        logging.getLogger("hpack.hpack").addFilter(_drop)

    def __call__(self, text: str) -> str:
        return self._pattern.sub("[redacted]", text) if self.is_in(text) else text

    def truncated(self, text: str) -> str:
        """Return a text without the key, whose beginning may be at the text's end."""
        text = self(text)
        for length in range(len(self._lower) - 1, _MIN_PART - 1, -1):
            if text[-length:].lower() == self._lower[:length]:
                return f"{text[:-length]}[redacted]"
        return text

    def is_in(self, text: str) -> bool:
        """Return whether a text contains the key."""
        if text.isascii() and not any(char in text for char in _ESCAPES):
            lower = text.lower()  # a tenth of the pattern's time
            return self._lower in lower or any(each in lower for each in self._hex)
        return self._pattern.search(text) is not None

    def error(self, error: Exception) -> Exception:
        """Return another library's exception without the key, and without a request that has it."""
        # The copy has no request, cause, context or note, nor what a class of others may hold.
        clean = self(text_of(error))
        is_known = isinstance(error, httpx.HTTPError) or type(error).__module__ in _MODULES
        with contextlib.suppress(Exception):  # its class needs more than a message
            if is_known:
                return type(error)(clean)
        return httpx.TransportError(f"{type(error).__name__}: {clean}")


class LogRedaction:
    """Removes the key from what httpx and its libraries log in this context, and nowhere else."""

    def __init__(self, redact: Redactor | None) -> None:
        self._active = [redact] if redact else []

    def __enter__(self) -> None:
        self._token = _current.set(self._active)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self._active.clear()  # for tasks that were started in the meantime


def _forms(char: str) -> str:
    r"""Return the pattern of a character: verbatim, with backslashes, as \u, \x, %XX or in HTML."""
    # JSON in the repr of bytes has three backslashes before one.
    escape = r"\\{0,3}" if char in "\"'\\/" else ""
    forms = {re.escape(char), re.escape(html.escape(char))}
    plain = "|".join(escape + form for form in sorted(forms))
    code = ord(char)
    return rf"(?:{plain}|\\u{code:04x}|\\x{code:02x}|%{code:02x}|&#0*(?:{code}|x0*{code:x});)"


def _clean(record: logging.LogRecord) -> bool:
    for redact in _current.get():
        try:
            message = record.getMessage()
        except Exception:  # logging reports it, and the exchange must not end with it
            return True
        if redact.is_in(message):
            record.msg, record.args = redact(message), None
    return True


def _drop(_: logging.LogRecord) -> bool:
    # HTTP/2 compresses headers, so no pattern can find the key in them.
    return not _current.get()
