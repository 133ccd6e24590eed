"""Make a picture and edit it, against a mock server of this process: no account, no key."""

from __future__ import annotations

import sys
from pathlib import Path

from mountsea_banana import NanoBanana, NanoBananaError, TaskResult
from mountsea_banana.mock import MockServer

FOLDER = Path("demo-pictures")


def main() -> int:
    """Run the demo; return its exit status."""
    print("demo: starting the mock server; nothing leaves this machine")
    with (
        MockServer(keys=["demo-key"]) as server,
        NanoBanana("demo-key", base_url=server.url) as banana,
    ):
        print("demo: generating a picture")
        task = banana.generate(
            "A fluffy orange cat running through a sunny meadow",
            model="nano-banana-2",
            aspect_ratio="16:9",
            resolution="1K",
        )
        made = task.wait(timeout=60, on_update=report)
        cat = made.save(FOLDER / "cat.png", overwrite=True)
        print("demo: editing it")
        task = banana.edit("Give the cat a red scarf", made.image_urls)
        result = task.wait(timeout=60, on_update=report)
        scarf = result.save(FOLDER / "scarf.png", overwrite=True)
    print(f"demo: done. The pictures:\n  {cat.resolve()}\n  {scarf.resolve()}")
    print("demo: next, type `make mock` and open its page, or `make test` to check everything")
    return 0


def report(look: TaskResult) -> None:
    """Say where a task stands."""
    print(f"demo:   {look.status}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NanoBananaError as error:
        sys.exit(f"demo: {error}")
