"""Keeping the API key out of what servers send back, and out of what libraries log about it."""

from __future__ import annotations

import html
import logging
import re
import threading
import weakref

import httpx

# They log responses: httpx the reason phrase, httpcore the headers and what it could not parse.
_LOGGERS = ("httpx", "httpcore.http11", "httpcore.http2")

_lock = threading.Lock()
_watching: tuple[weakref.ref[Redactor], ...] = ()


class Redactor:
    """Removes the API key from text: verbatim, in any case, escaped or percent-encoded."""

    def __init__(self, key: str) -> None:
        self._pattern = re.compile("".join(map(_forms, key)), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return self._pattern.sub("[redacted]", text)

    def is_in(self, text: str) -> bool:
        """Return whether a text contains the key."""
        return self._pattern.search(text) is not None

    def error(self, error: Exception) -> Exception:
        """Return a library's exception, or a copy without the key if its message contains it."""
        if self.is_in(str(error)):
            # The copy has no cause or context, which would contain the key as well.
            clean = self(str(error))
            try:
                return type(error)(clean)
            except TypeError:  # its class needs more than a message
                return httpx.TransportError(clean)
        return error

    def watch_logs(self) -> None:
        """Remove the key from what httpx and httpcore log, for the lifetime of this object."""
        global _watching
        with _lock:
            _watching = (*(each for each in _watching if each()), weakref.ref(self))
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_clean)
        logging.getLogger("hpack.hpack").addFilter(_drop)


def _forms(char: str) -> str:
    r"""Return the pattern of a character: verbatim, after backslashes, as \u, %XX or in HTML."""
    # JSON in the repr of bytes has three backslashes before one.
    escape = r"\\{0,3}" if char in "\"'\\/" else ""
    forms = {re.escape(char), re.escape(html.escape(char))}
    plain = "|".join(escape + form for form in sorted(forms))
    return rf"(?:{plain}|\\u{ord(char):04x}|%{ord(char):02x})"


def _clean(record: logging.LogRecord) -> bool:
    for each in _watching:
        redact = each()
        if redact and redact.is_in(record.getMessage()):
            record.msg, record.args = redact(record.getMessage()), None
    return True


def _drop(_: logging.LogRecord) -> bool:
    # HTTP/2 compresses headers, so no pattern can find the key in them.
    return False
