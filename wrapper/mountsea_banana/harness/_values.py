"""The values worth sending for a property, taken from its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ADDRESSES = (
    "https://example.com/image1.jpg",
    "http://example.com/image2.png",
    "https://cdn.example.org/a/b/picture?size=large&v=2",
    "https://example.com:8443/a%20b.webp",
    "https://example.com",
)
NO_ADDRESSES = (
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "httpx://example.com/a.png",
    "example.com/a.png",
    "//example.com/a.png",
    "/a.png",
    "a picture",
    "http://",
    "https://?a",
    "",
)
DISPUTED_ADDRESSES = (
    "https://exämple.com/ü.png",
    "https://例え.jp/画像.png",
    "http://example.com/a b.png",
    "http:///a.png",
    "https://user:word@example.com/a.png",
    "http://[::1]/a.png",
    "http://[::1/a.png",
    "http://example.com:99999/a.png",
    "https://example.com/%zz",
    "HTTPS://EXAMPLE.COM/A.PNG",
    "http://example.com/a\x00.png",
    "https://example.com/" + "a" * 5000,
)
OF_EVERY_TYPE: tuple[Any, ...] = (
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
    "nothing": "",
    "a blank": " ",
    "quotes and backslashes": "\"'`\\ ${a} {{b}} %s %n <script>alert(1)</script>",
    "Latin": "Ça coûte 5 €, naïve façade",
    "Greek and Cyrillic": "γάτα кошка",
    "Chinese": "一只在阳光草地上奔跑的橘猫",
    "right to left": "\u202eقطة חתול\u202c",
    "combining marks": "Z͑ͫ̓a̴̵̞l̷g̡o e\u0301",
    "emoji of several code points": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈",
    "lines and tabs": "a\n\tb\r\nc",
    "plane 1": "𝔠𝔞𝔱 🐈",
    "plane 2": "𠀀𠮷",
    "plane 3": "\U00030000",
    "plane 14": "\U000e0041\U000e0100",
    "private planes": "\ue000\U000f0000\U00100000",
    "zero width": "\u200b\u2060\ufeff",
    "a number": "1e999",
    "five thousand characters": "a cat " * 833,
    "NUL": "a\x00b",
    "control characters": "".join(map(chr, range(1, 32))),
    "noncharacters": "\ufdd0\ufffe\U0001ffff",
    "a lone surrogate": "\ud800",
    "sixty thousand characters": "猫" * 60_000,
}


def finite(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values of a property that has few: enum members, the default and another."""
    if "enum" in schema:
        return list(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return [True, False]
        case "number" | "integer":
            return [schema["default"], schema["default"] + 1] if "default" in schema else []
        case "array":
            items = legal(schema.get("items", {}))[:1]
            return [[], items] if items else []
    return []


def legal(schema: Mapping[str, Any]) -> list[Any]:
    """Return values that the property's schema allows; a rule may still forbid them."""
    if "enum" in schema:
        return list(schema["enum"])
    match schema.get("type"):
        case "string" if schema.get("format") == "uri":
            return list(ADDRESSES)
        case "string":
            return [schema.get("example", "A fluffy orange cat")]
        case "boolean":
            return [True, False]
        case "number" | "integer":
            default = schema.get("default", schema.get("minimum", 1))
            return [default, float(default)]
        case "array":
            items = legal(schema.get("items", {}))
            several = [items[:1], items[:2], items[:1] * 2, (items * 10)[:10]]
            return [[], *([[item] for item in items] + several if items else [])]
        case "object":
            return [{}]
    return []


def odd(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Give values that the property's schema forbids, or that are at its edge."""
    yield from OF_EVERY_TYPE
    if "enum" in schema:
        yield "another"
    match schema.get("type"):
        case "string" if schema.get("format") == "uri":
            yield from NO_ADDRESSES
            yield from DISPUTED_ADDRESSES
        case "number" | "integer":
            default = schema.get("default", 1)
            yield from (default + 1, 0, -1, default + 0.5, 100, 2**31, 10**30, str(default))
        case "array":
            # Every position of an array, so that a server which looks at the first alone is seen.
            item = schema.get("items", {})
            good = legal(item)[:1] * 2
            for value in odd(item):
                yield from ([value], [value, *good], [*good[:1], value, *good[:1]], [*good, value])
            yield from (good[0] if good else "text", {"0": "text"})


def near_misses(member: str) -> Iterator[str]:
    """Give texts that are almost a member of an enum."""
    for text in (
        member.upper(),
        member.lower(),
        member.title(),
        f" {member}",
        f"{member} ",
        f"{member}\n",
        member[:-1],
        member[1:],
        f"{member}0",
        f"{member},{member}",
        member.replace("-", "_").replace(":", "x"),
    ):
        if text != member:
            yield text
