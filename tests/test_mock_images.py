"""The mock's images show prompts in every script, and what a request asks for."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from mountsea_banana.mock import MockServer, _drawing, _fonts, _images
from mountsea_banana.mock._drawing import SHADES, Drawing, png
from PIL import Image

KEY = {"Authorization": "Bearer test-token"}
ROOT = Path(__file__).parent.parent


def forget_fonts() -> None:
    for function in (_fonts.fonts, _fonts._font_of, _fonts._has, _fonts._report_missing):
        function.cache_clear()


@pytest.fixture
def fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that contains all the fonts that are installed."""
    monkeypatch.setattr(_fonts, "FOLDERS", (str(tmp_path),))
    forget_fonts()
    yield tmp_path
    forget_fonts()


def add_font(path: Path, characters: str) -> None:
    """Write a font that draws a box of its own for each character."""
    glyphs = {}
    for number in range(len(characters) + 1):
        pen = TTGlyphPen(None)
        corners = (100, 0), (100, 800 - 70 * number), (900, 800 - 70 * number), (900, 0)
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
        glyphs[f"g{number}" if number else ".notdef"] = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder(list(glyphs))
    font.setupCharacterMap({ord(each): f"g{i + 1}" for i, each in enumerate(characters)})
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupPost()
    font.save(path)


def add_pictures(path: Path, size: int) -> None:
    """Write a font that has pictures of one size, like the emoji fonts of Linux and macOS."""
    head = f"""STARTFONT 2.1
FONT -a-a-medium-r-normal--{size}-{size * 10}-72-72-p-{size * 10}-iso10646-1
SIZE {size} 72 72
FONTBOUNDINGBOX {size} {size} 0 0
STARTPROPERTIES 4
FONT_ASCENT {size}
FONT_DESCENT 0
CHARSET_REGISTRY "ISO10646"
CHARSET_ENCODING "1"
ENDPROPERTIES
CHARS 3"""
    row = "F" * (size // 4)
    glyphs = [
        f"STARTCHAR g{code}\nENCODING {code}\nSWIDTH 1000 0\nDWIDTH {size} 0\n"
        f"BBX {size // 4 * 4} {height} 0 0\nBITMAP\n" + f"{row}\n" * height + "ENDCHAR"
        for code, height in ((0, 1), (ord("🐱"), size), (ord("🐶"), size // 2))
    ]
    path.write_text("\n".join([head, *glyphs, "ENDFONT", ""]), encoding="utf-8")


def draw(prompt: str, width: int = 400, height: int = 300, **options: Any) -> Image.Image:
    return Image.open(io.BytesIO(png(Drawing(width, height, 0, prompt, "", **options))))


def ink(drawn: Image.Image) -> tuple[int, int, int, int]:
    """Return the box around everything that is not background."""
    box = Image.frombytes("L", drawn.size, drawn.tobytes()).getbbox()
    assert box
    return box


def test_characters_are_drawn_in_a_font_that_has_them(fonts: Path) -> None:
    add_font(fonts / "chinese.ttf", "猫狗")
    assert draw("猫").tobytes() != draw("狗").tobytes()
    assert draw("a 猫").tobytes() != draw("a 狗").tobytes()


@pytest.mark.parametrize(
    "pair", ["猫狗", "日月", "あい", "한국", "قط", "אב", "Жя", "éü", "हम", "🐱🐶"]
)
def test_two_characters_look_different_if_an_installed_font_has_them(pair: str) -> None:
    forget_fonts()
    if not all(any(font.has(each) for font in _fonts.fonts()) for each in pair):
        pytest.skip(f"no installed font has {pair}")
    assert draw(pair[0]).tobytes() != draw(pair[1]).tobytes()


@pytest.mark.parametrize("size", [109, 160])
def test_emoji_are_drawn_in_an_emoji_font_even_if_another_has_them(fonts: Path, size: int) -> None:
    add_font(fonts / "sans.ttf", "🐱🐶猫")
    add_pictures(fonts / "emoji.ttf", size)
    cat, dog = ink(draw("🐱")), ink(draw("🐶"))
    assert cat[3] - cat[1] == pytest.approx(2 * (dog[3] - dog[1]), abs=2)
    assert ink(draw("🐱 a"))[2] > cat[2]


def test_an_accent_or_joiner_stays_with_its_character(fonts: Path) -> None:
    add_font(fonts / "a.ttf", "猫\u0301")
    run = _fonts.Run(_fonts.Font(str(fonts / "a.ttf")), "猫\u0301\u200d 猫")
    assert _fonts.split("猫\u0301\u200d 猫", _fonts.Font()) == [run]


def test_usual_fonts_are_preferred(fonts: Path) -> None:
    for name in ("Sans-Bold", "SansOther-Regular", "Sans-Regular", "Old"):
        add_font(fonts / f"{name}.ttf", "é")
    (fonts / "A.ttf").write_bytes(b"not a font")
    (fonts / "readme.txt").write_text("not a font either")
    found = [Path(font.path).stem for font in _fonts.fonts()]
    assert found == ["", "Sans-Regular", "SansOther-Regular", "A", "Old", "Sans-Bold"]
    assert _fonts.usual_font("é").path == str(fonts / "Sans-Regular.ttf")
    assert _fonts.usual_font("plain").path == ""
    assert not _fonts.Font(str(fonts / "A.ttf")).has("a")


@pytest.mark.parametrize(
    ("prompt", "package"),
    [("猫狗", "fonts-noto-cjk"), ("🐱", "fonts-noto-color-emoji"), ("हम", "fonts-noto-core")],
)
def test_the_package_of_a_missing_font_is_named_once(
    fonts: Path, prompt: str, package: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mountsea_banana.mock"):
        draw(prompt)
        draw(f"{prompt} again")
    (message,) = caplog.messages
    assert message.endswith(f"install the package {package}")


def test_a_script_from_right_to_left_starts_at_the_right(fonts: Path) -> None:
    add_font(fonts / "hebrew.ttf", "אב")
    left, right = ink(draw("abc")), ink(draw("אב abc"))
    assert left[0] < 30
    assert right[2] > 400 - 30
    assert right[0] > left[2]


def test_a_long_prompt_is_wrapped_and_shortened(fonts: Path) -> None:
    add_font(fonts / "chinese.ttf", "猫")
    for prompt in ("word " * 300, "x" * 2000, "猫" * 500, "two\r\nlines " * 200):
        left, top, right, bottom = ink(draw(prompt))
        assert (left, top) > (0, 0)
        assert right <= 400
        assert bottom < 300 - 15
    assert ink(draw("x" * 30))[3] < ink(draw("x" * 60))[3]


@pytest.mark.parametrize("prompt", ["", "   ", "\x00\x07", "half a pair: \ud800"])
def test_prompts_without_printable_characters_are_drawn(prompt: str) -> None:
    assert draw(prompt).size == (400, 300)


@pytest.mark.parametrize(
    ("request_body", "pixels"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "8:1", "resolution": "4K"}, (4096, 512)),
        ({"aspect_ratio": "21:9", "resolution": "4K"}, (4095, 1755)),
        ({"aspect_ratio": "2:7", "resolution": "8K"}, (2340, 8190)),
        ({"aspect_ratio": "100:1", "resolution": "3K"}, (3000, 30)),
        ({"resolution": "999K"}, (16384, 16384)),
        ({"aspect_ratio": "auto", "resolution": "HD"}, (1024, 1024)),
        ({"aspect_ratio": "0:1", "resolution": "0K"}, (1024, 1024)),
        ({"aspect_ratio": 5, "resolution": None}, (1024, 1024)),
    ],
)
def test_the_size_follows_any_ratio_and_resolution(
    request_body: dict[str, Any], pixels: tuple[int, int]
) -> None:
    assert _images.size(request_body) == pixels


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def submit(http: httpx.Client, server: MockServer, prompt: str, **fields: Any) -> str:
    body = {"prompt": prompt, "action": "generate", **fields}
    response = http.post(f"{server.url}/gemini/image/generate", headers=KEY, json=body)
    task_id: str = response.json()["taskId"]
    return task_id


def fetch(http: httpx.Client, server: MockServer, task_id: str) -> bytes:
    response = http.get(f"{server.url}/images/{task_id}.png")
    assert response.headers["content-type"] == "image/png"
    return response.content


def image(http: httpx.Client, server: MockServer, task_id: str) -> Image.Image:
    return Image.open(io.BytesIO(fetch(http, server, task_id)))


def hues(drawn: Image.Image) -> set[int]:
    return {pixel // SHADES for pixel in drawn.tobytes()}


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400)])
def test_sources_are_drawn_into_an_image_and_sources_of_sources_into_them(
    width: int, height: int
) -> None:
    inner = Drawing(1024, 128, 2, "inner", "")
    sources = Drawing(1024, 1024, 1, "first", "", (inner,)), Drawing(128, 1024, 3, "second", "")
    assert hues(draw("edit", width, height, sources=sources)) == {0, 1, 2, 3}


def test_an_edit_shows_the_images_of_this_server_that_it_edits(
    http: httpx.Client, banana_server: MockServer
) -> None:
    sources = [submit(http, banana_server, f"source {number}") for number in range(5)]
    urls = [f"{banana_server.url}/images/{each}.png" for each in sources]
    others = ["https://example.com/cat.png", f"{banana_server.url}/images/0a.png"]
    plain = submit(http, banana_server, "edit", action="edit", image_urls=others)
    assert len(hues(image(http, banana_server, plain))) == 1
    edit = submit(http, banana_server, "edit", action="edit", image_urls=[*others, *urls])
    shown = hues(image(http, banana_server, edit))
    for source in sources[: _images.MAX_SOURCES - len(others)]:
        assert hues(image(http, banana_server, source)) <= shown
    for _ in range(20):
        url = f"{banana_server.url}/images/{edit}.png"
        edit = submit(http, banana_server, "edit", action="edit", image_urls=[url])
    assert image(http, banana_server, edit).size == (1024, 1024)


def test_images_are_drawn_one_at_a_time_and_kept_up_to_a_limit(
    http: httpx.Client, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    idle = threading.Lock()

    def png(drawing: Drawing) -> bytes:
        assert idle.acquire(blocking=False)
        drawn.append(drawing.prompt)
        idle.release()
        return b"png"

    monkeypatch.setattr(_drawing, "png", png)
    tasks = [submit(http, banana_server, str(number)) for number in range(70)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda task_id: fetch(http, banana_server, task_id), tasks[:8] * 2))
    assert sorted(drawn) == [str(number) for number in range(8)]
    for task_id in [*tasks, tasks[0]]:
        fetch(http, banana_server, task_id)
    assert drawn.count("0") == 2


def test_an_image_of_a_resolution_that_the_spec_will_have_is_served(
    http: httpx.Client, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text((ROOT / "openapi.yaml").read_text("utf-8").replace("- 4K", "- 3K"), "utf-8")
    with MockServer(spec=spec) as server:
        task_id = submit(http, server, "a cat", model="nano-banana-2", resolution="3K")
        assert image(http, server, task_id).size == (3072, 3072)
