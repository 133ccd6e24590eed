"""The values to send for a property, derived from its schema."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

URLS = (
    "https://example.com/image1.jpg",
    "http://example.com/image2.png",
    "https://cdn.example.org/a/b/picture?size=large&v=2",
    "https://example.com:8443/a%20b.webp",
    "https://example.com",
    "HTTPS://CDN.EXAMPLE.ORG/A.PNG",
    "https://bucket.s3.eu-central-1.amazonaws.com/uploads/a%20cat.png"
    "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=EXAMPLE%2F20260101%2Feu-central-1%2Fs3"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    f"&X-Amz-Security-Token={'IQoJb3JpZ2luX2VjE' * 26}%3D&X-Amz-Signature={'0f' * 32}",
)
INVALID_URLS = (
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "httpx://example.com/a.png",
    "example.com/a.png",
    "//example.com/a.png",
    "/a.png",
    "a picture",
    "ftp://example.com/?source=https://example.com/a.png",
    "a picture at https://example.com/a.png",
    "http://",
    "https://?a",
    "",
)
AMBIGUOUS_URLS = (
    "https://exämple.com/ü.png",
    "https://例え.jp/画像.png",
    "http://example.com/a b.png",
    "http:///a.png",
    "https://user:word@example.com/a.png",
    "http://[::1]/a.png",
    "http://[::1/a.png",
    "http://example.com:99999/a.png",
    "https://example.com/%zz",
    "http://example.com/a\x00.png",
    "https://example.com/" + "a" * 5000,
)
ONE_OF_EACH_TYPE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1.5,
    "",
    "text",
    "1",
    [],
    ["text"],
    {},
    {"a": 1},
)

TEXTS: Mapping[str, str] = {
    "empty text": "",
    "a space": " ",
    "quotes and backslashes": "\"'`\\ ${a} {{b}} %s %n <script>alert(1)</script>",
    "Latin": "Ça coûte 5 €, naïve façade",
    "Greek and Cyrillic": "γάτα кошка",
    "Chinese": "一只在阳光草地上奔跑的橘猫",
    "right-to-left text": "\u202eقطة חתול\u202c",
    "combining marks": "Z͑ͫ̓a̴̵̞l̷g̡o e\u0301",
    "emoji of several code points": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈",
    "newlines and tabs": "a\n\tb\r\nc",
    "plane 1": "𝔠𝔞𝔱 🐈",
    "plane 2": "𠀀𠮷",
    "plane 3": "\U00030000",
    "plane 14": "\U000e0041\U000e0100",
    "private use characters": "\ue000\U000f0000\U00100000",
    "zero-width characters": "\u200b\u2060\ufeff",
    "a numeric string": "1e999",
    "300 characters": "a cat " * 50,
    "1,200 characters": "a cat " * 200,
    "2,500 characters": "a cat " * 416,
    "5,000 characters": "a cat " * 833,
    "18,000 characters": "a cat " * 3000,
    "NUL": "a\x00b",
    "control characters": "".join(map(chr, range(1, 32))),
    "noncharacters": "\ufdd0\ufffe\U0001ffff",
    "a lone surrogate": "\ud800",
    "60,000 characters": "猫" * 60_000,
}


# Half a character, which many servers cannot repeat in an error message.
ODD_TEXTS = frozenset({"a lone surrogate"})


def is_text(schema: Mapping[str, Any]) -> bool:
    """Return whether the property is free text."""
    return schema.get("type") == "string" and not schema.keys() & {"enum", "format"}


def enumerable(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values to combine with other properties, if the property has only a few.

    These are the members of an enum, both booleans, the default of a number and another number, an
    empty array, and arrays of one item and of two.
    """
    if "enum" in schema:
        return list(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return [True, False]
        case "number" | "integer":
            return [schema["default"], schema["default"] + 1] if "default" in schema else []
        case "array":
            items = valid(schema.get("items", {}))[:2]
            return [[], items[:1], items] if items else []
    return []


def valid(schema: Mapping[str, Any]) -> list[Any]:
    """Return values that the property's schema allows. A rule may still forbid them."""
    if "enum" in schema:
        return list(schema["enum"])
    match schema.get("type"):
        case "string" if schema.get("format") == "uri":
            return list(URLS)
        case "string":
            return [schema.get("example", "A fluffy orange cat")]
        case "boolean":
            return [True, False]
        case "number" | "integer":
            default = schema.get("default", schema.get("minimum", 1))
            return [default, float(default)]
        case "array":
            items = valid(schema.get("items", {}))
            several = [items[:2], items[:1] * 2, (items * 10)[:16]]
            return [[], *([[item] for item in items] + several if items else [])]
        case "object":
            return [{}]
    return []


def unusual(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values that the property's schema forbids, and borderline ones."""
    yield from ONE_OF_EACH_TYPE
    if "enum" in schema:
        # Every object in JavaScript has a property of this name.
        yield from ("another", "constructor", schema["enum"][:1], {"value": schema["enum"][0]})
    match schema.get("type"):
        case "string" if schema.get("format") == "uri":
            yield from ([URLS[0]], {"url": URLS[0]})
            yield from INVALID_URLS
            yield from AMBIGUOUS_URLS
        case "number" | "integer":
            default = schema.get("default", 1)
            yield [default]
            yield from (default + 1, 0, -1, default + 0.5, 100, 2**31, 10**30, str(default))
        case "array":
            # Every position, to find servers that only check the first item.
            item = schema.get("items", {})
            good = valid(item)[:1] * 2
            for bad in unusual(item):
                yield from ([bad], [bad, *good], [*good[:1], bad, *good[:1]], [*good, bad])
            for bad in (None, "a picture"):
                yield [*good * 4, bad, *good * 3]
            yield from (good[0] if good else "text", {"0": "text"})


def texts(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield values for a parameter, as texts: valid, invalid, and unclear ones of neither kind."""
    broken = (part.get("x-broken-by", {}).get("enum", []) for part in schema.get("allOf", []))
    values = [*valid(schema), *unusual(schema), *itertools.chain.from_iterable(broken)]
    for member in schema.get("enum", []):
        values += near_misses(member) if isinstance(member, str) else ()
    found = (
        value if isinstance(value, str) else json.dumps(value)
        for value in values
        if isinstance(value, str | bool | int | float)
    )
    # A server may read an empty text as no value, 1.0 as an integer, and 0 and 1 as booleans.
    unclear = {"", "0", "1", "1.0"} if schema.get("type") == "boolean" else {"", "1.0"}
    yield from (text for text in dict.fromkeys(found) if text not in unclear)


def near_misses(member: str) -> Iterator[str]:
    """Yield strings that are almost a member of an enum."""
    for text in (
        member.upper(),
        member.lower(),
        member.title(),
        f" {member}",
        f"{member} ",
        f"{member}\n",
        member[:-1],
        member.rpartition("-")[0] or member,
        member[1:],
        f"{member}0",
        f"{member},{member}",
        member.replace("-", "_").replace(":", "x"),
    ):
        if text != member:
            yield text
