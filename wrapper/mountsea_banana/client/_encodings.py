"""Decoding a Content-Encoding within a bound: a few kilobytes can expand to gigabytes."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator

GZIP = b"\x1f\x8b"
"""The first bytes of what gzip compresses."""
_BLANK = b" \t\r\n\xef\xbb\xbf"
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_RAW_DEFLATE = -zlib.MAX_WBITS
# The first bytes are decoded one by one, so that damage behind a task id does not lose it.
_CAREFUL_BYTES = 4096
_MAX_STAGES = 3
_MAX_PIECE = 65_536
_MAX_OUTPUT = 16 * 1024 * 1024
_MAX_MEMBERS = 100


class Decoder:
    """Decodes a body piece by piece; encodings that Python cannot decode are left as they are."""

    def __init__(self, content_encoding: str = "") -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        applied = [name for name in names if name in ("gzip", "x-gzip", "deflate")]
        self._stages = [_Stage() for _ in applied[:_MAX_STAGES]]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to, in pieces of at most 64 KiB. Raises zlib.error."""
        pieces = iter([data])
        for stage in self._stages:
            pieces = itertools.chain.from_iterable(map(stage.feed, pieces))
        return pieces


class _Stage:
    """Undoes one encoding: gzip, in one member or several, or deflate, with a header or without."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._is_plain: bool | None = None
        self._members = 1
        self._fed = b""
        self._output = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._is_plain is None and data:
            # Nothing compressed from JSON starts like that: a proxy left the header of a body that
            # it has decoded.
            self._is_plain = data.lstrip(_BLANK).startswith(b"{")
        if self._is_plain:
            yield data
            return
        while data:
            if len(self._fed) >= _CAREFUL_BYTES:
                yield from self._decode(data)
                return
            head, data = data[:1], data[1:]
            self._fed += head
            yield from self._decode(head)

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
                self._members += 1
            try:
                piece = self._decoder.decompress(data, _MAX_PIECE)
            except zlib.error:
                if self._fed[2:]:
                    raise
                # Not even the two bytes of a header: deflate as some servers send it.
                self._decoder = zlib.decompressobj(_RAW_DEFLATE)
                piece = self._decoder.decompress(self._fed, _MAX_PIECE)
            self._output += len(piece)
            if self._members > _MAX_MEMBERS or self._output > _MAX_OUTPUT:
                raise zlib.error("the body expands too much")
            yield piece
            data = self._decoder.unconsumed_tail or self._decoder.unused_data
