"""Keeps the API key out of whatever a server sends back, and out of what libraries log of that."""

from __future__ import annotations

import html
import logging
import re
import threading
import weakref

import httpx

# They log answers: httpx the reason phrase, httpcore the headers and what it could not parse.
_LOGGERS = ("httpx", "httpcore.http11", "httpcore.http2")

_lock = threading.Lock()
_watching: tuple[weakref.ref[Redactor], ...] = ()


class Redactor:
    """Takes the API key out of text: as it is, in any case, escaped or percent-encoded."""

    def __init__(self, key: str) -> None:
        self._pattern = re.compile("".join(map(_forms, key)), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return self._pattern.sub("[redacted]", text)

    def is_in(self, text: str) -> bool:
        """Say whether a text holds the key."""
        return self._pattern.search(text) is not None

    def error(self, error: Exception) -> Exception:
        """Return an exception of a library, or one of its kind where it quotes the key."""
        if self.is_in(str(error)):
            # It leaves behind what it came from, which quotes the same.
            clean = self(str(error))
            try:
                return type(error)(clean)
            except TypeError:  # one of a kind that needs more than a text
                return httpx.TransportError(clean)
        return error

    def watch_logs(self) -> None:
        """Take the key out of what httpx and httpcore log, for as long as this object lives."""
        global _watching
        with _lock:
            _watching = (*(each for each in _watching if each()), weakref.ref(self))
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_clean)
        logging.getLogger("hpack.hpack").addFilter(_drop)


def _forms(char: str) -> str:
    r"""Return the pattern of a character: as it is, behind backslashes, as \u, %XX or in HTML."""
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
    # HTTP/2's packed headers hold the key in bits that no pattern finds.
    return False
