"""The mock's page in a real browser. `make browser` runs these tests, `make test` does not."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mountsea_banana.mock import MockServer, Plan
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed: looked for {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        # The sandbox does not start for root, who runs many containers. The page is our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, banana_server: MockServer) -> Iterator[Page]:
    """The page, which must neither fail nor request anything from elsewhere."""
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((f"{banana_server.url}/", "data:"))
            else problems.append(request.url)
        ),
    )
    page.goto(banana_server.url)
    yield page
    page.close()
    assert problems == []


def submit(server: MockServer, prompt: str, **fields: object) -> str:
    response = httpx.post(
        f"{server.url}/gemini/image/generate",
        headers={"Authorization": "Bearer test-token"},
        json={"prompt": prompt, "action": "generate", **fields},
        trust_env=False,
    )
    task_id: str = response.json()["taskId"]
    return task_id


def test_the_form_submits_and_the_task_appears_and_ends(
    page: Page, banana_server: MockServer
) -> None:
    banana_server.plan = Plan(advances="time", seconds=60)
    expect(page.locator("main")).to_have_text(re.compile("No tasks yet"))
    page.get_by_label("prompt").fill("一只猫 <b>&")
    page.get_by_label("model").select_option("nano-banana-2")
    page.get_by_label("aspect_ratio").select_option("16:9")
    page.get_by_role("button", name="Submit").click()
    card = page.locator("article")
    expect(card.locator(".prompt")).to_have_text("一只猫 <b>&")
    expect(card.locator(".status")).to_have_text("pending")
    expect(page.locator("#charged")).to_have_text("1")
    assert banana_server.submissions == [
        {
            "prompt": "一只猫 <b>&",
            "action": "generate",
            "model": "nano-banana-2",
            "aspect_ratio": "16:9",
        }
    ]
    banana_server.clock.sleep(60)
    image = card.locator(".picture img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 800
    expect(card.locator(".status")).to_have_text("completed")


def test_the_form_shows_what_the_server_rejects(page: Page, banana_server: MockServer) -> None:
    page.get_by_label("resolution").select_option("2K")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#message.bad")).to_contain_text("only valid when model is")
    page.get_by_label("resolution").select_option("")
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#message.bad")).to_contain_text("missing or invalid API key")
    page.get_by_label("API key").fill("test-token")
    banana_server.plan = Plan(drops=True)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#message.bad")).to_have_text("No response: the connection was closed.")
    # Chromium resends a request if the server closes a reused connection.
    assert banana_server.charged in (1, 2)


def test_the_curl_command_submits_what_the_form_says(page: Page, banana_server: MockServer) -> None:
    page.get_by_label("prompt").fill('the cat\'s "hat"\n$HOME \\')
    page.get_by_label("action").select_option("edit")
    page.get_by_label("image_urls").fill("https://a.example/1.png\n\nhttps://a.example/2.png")
    page.get_by_label("num_images").fill("1")
    command = page.locator("#curl").text_content() or ""
    subprocess.run(["bash", "-c", f"{command} -sSf --noproxy '*'"], check=True)
    assert shlex.split(command)[0] == "curl"
    assert banana_server.submissions == [
        {
            "prompt": 'the cat\'s "hat"\n$HOME \\',
            "action": "edit",
            "num_images": 1,
            "image_urls": ["https://a.example/1.png", "https://a.example/2.png"],
        }
    ]


def test_a_failed_task_is_red_and_shows_its_message(page: Page, banana_server: MockServer) -> None:
    banana_server.plan = Plan(ends_as="failed", error_message="no cats", seconds=0, advances="time")
    submit(banana_server, "a cat")
    card = page.locator("article.failed")
    expect(card.locator(".picture")).to_have_text("no cats")
    red, green, blue = map(
        int, re.findall(r"\d+", card.locator("b").evaluate("each => getComputedStyle(each).color"))
    )
    assert red > 2 * max(green, blue)


def test_the_buttons_control_the_server(page: Page, banana_server: MockServer) -> None:
    advance_all = page.get_by_role("button", name="Advance all")
    expect(advance_all).to_be_disabled()
    page.get_by_label("Tasks advance").select_option("hand")
    expect(page.locator("#plan")).to_have_text("ends as completed when you advance it")
    page.get_by_role("button", name="Make the next fail").click()
    expect(page.locator("#next")).to_have_text("Next: ends as failed when you advance it")
    for prompt in ("first", "second"):
        submit(banana_server, prompt)
    expect(page.locator("article")).to_have_count(2)
    second, first = page.locator("article").all()
    advance_all.click()
    expect(first.locator("b")).to_have_text("processing")
    expect(second.locator("b")).to_have_text("processing")
    first.get_by_role("button", name="Advance").click()
    expect(first.locator("b")).to_have_text("failed")
    advance_all.click()
    expect(second.locator("b")).to_have_text("completed")
    expect(advance_all).to_be_disabled()
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("article")).to_have_count(0)
    assert (banana_server.charged, banana_server.plan) == (0, Plan())


def test_an_edit_shows_its_sources(page: Page, banana_server: MockServer) -> None:
    source = submit(banana_server, "a cat")
    url = f"{banana_server.url}/images/{source}.png"
    edit = submit(banana_server, "red", action="edit", image_urls=[url, "https://a.example/a.png"])
    card = page.locator("article", has_text=edit)
    expect(card.locator(".sources a")).to_have_attribute("href", f"images/{source}.png")


def test_an_operation_of_a_new_spec_can_be_chosen(browser: Browser, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    text = (Path(__file__).parent.parent / "openapi.yaml").read_text("utf-8")
    lines = text.splitlines(keepends=True)
    start = lines.index("  /gemini/image/generate:\n")
    end = lines.index("  /gemini/task/result:\n")
    copy = ["  /image/again:\n", *lines[start + 1 : end]]
    spec.write_text("".join(lines[:end] + copy + lines[end:]), "utf-8")
    with MockServer(spec=spec) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_label("operation").select_option("/image/again")
        expect(page.locator("#curl")).to_contain_text("/image/again")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("article")).to_have_count(1)
        page.close()


def test_the_page_says_when_the_server_has_stopped(browser: Browser) -> None:
    page = browser.new_page()
    with MockServer() as server:
        page.goto(server.url)
        expect(page.locator("main")).to_have_text(re.compile("No tasks yet"))
    expect(page.locator("#connection")).to_have_text("Not connected to the server")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 2000])
def test_the_page_is_tidy_at_every_width(
    page: Page, banana_server: MockServer, width: int, scheme: str
) -> None:
    banana_server.plan = Plan(advances="time", seconds=0)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    for ratio in ("1:8", "16:9", "8:1", "1:1", "9:16"):
        submit(banana_server, "x" * 300, model="nano-banana-2", aspect_ratio=ratio)
    expect(page.locator("article")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = page.locator("article").evaluate_all(
        "cards => cards.map(card => card.getBoundingClientRect().toJSON())"
    )
    # A grid without holes: cards of one size, and no card below a free place.
    assert len({(round(box["width"]), round(box["height"])) for box in boxes}) == 1
    columns = len({box["x"] for box in boxes})
    assert columns == {360: 1, 800: 2, 2000: 5}[width]
    brightness = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    )
    assert (brightness < 128) == (scheme == "dark")
