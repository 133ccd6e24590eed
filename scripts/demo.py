"""Generate an image and edit it, against a mock server in this process. Needs no API key."""

from __future__ import annotations

import sys
from pathlib import Path

from mountsea_banana import NanoBanana, NanoBananaError, TaskResult
from mountsea_banana.mock import MockServer

FOLDER = Path("demo-images")


def main() -> int:
    """Run the demo; return its exit code."""
    print("demo: starting the mock server; no request leaves this machine")
    with (
        MockServer(keys=["demo-key"]) as server,
        NanoBanana("demo-key", base_url=server.url) as banana,
    ):
        print("demo: generating an image")
        task = banana.generate(
            "A fluffy orange cat running through a sunny meadow",
            model="nano-banana-2",
            aspect_ratio="16:9",
            resolution="1K",
        )
        generated = task.wait(timeout=60, on_update=report)
        cat = generated.save(FOLDER / "cat.png", overwrite=True)
        print("demo: editing the image")
        task = banana.edit("Give the cat a red scarf", generated.image_urls)
        edited = task.wait(timeout=60, on_update=report)
        scarf = edited.save(FOLDER / "scarf.png", overwrite=True)
    print(f"demo: done. Images saved:\n  {cat.resolve()}\n  {scarf.resolve()}")
    print("demo: next, run `make mock` to develop against the mock server")
    return 0


def report(snapshot: TaskResult) -> None:
    """Print the status of a task."""
    print(f"demo:   {snapshot.status}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NanoBananaError as error:
        sys.exit(f"demo: {error}")
