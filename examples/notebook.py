"""Several pictures at once, in a notebook.

Paste the function into a cell, and in the next one:

    from IPython.display import Image
    [Image(picture) for picture in await make_pictures("a cat", "a dog")]
"""

from __future__ import annotations

import asyncio

from mountsea_banana import AsyncNanoBanana


async def make_pictures(*prompts: str) -> list[bytes]:
    """Make one picture a prompt, all at the same time; return their bytes in that order.

    Every id is printed as soon as it is known: should one task fail or the cell be stopped,
    `await banana.task(id).wait()` picks the others up.
    """
    async with AsyncNanoBanana() as banana:

        async def make(prompt: str) -> bytes:
            task = await banana.generate(prompt)
            print(task.id, prompt)
            result = await task.wait()
            return await result.read()

        return await asyncio.gather(*map(make, prompts))
