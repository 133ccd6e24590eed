"""Generate several images at once in a notebook.

Paste the function into a cell. In the next one, run:

    from IPython.display import Image
    images = await generate_images("a cat", "a dog")
    [Image(each) for each in images if isinstance(each, bytes)]
"""

from __future__ import annotations

import asyncio

from mountsea_banana import AsyncNanoBanana, AsyncTask


async def generate_images(*prompts: str) -> list[bytes | BaseException]:
    """Generate one image per prompt concurrently. Return the bytes of each, or its exception.

    Prints every task id before it waits. After a failure or a stopped cell, resume a task with
    `await AsyncNanoBanana().task(id).wait()`.
    """
    async with AsyncNanoBanana() as banana:
        tasks = await asyncio.gather(*map(banana.generate, prompts), return_exceptions=True)
        for prompt, task in zip(prompts, tasks, strict=True):
            print(repr(task), prompt)

        async def finish(task: AsyncTask | BaseException) -> bytes:
            if isinstance(task, BaseException):
                raise task
            result = await task.wait()
            return await result.read()

        return await asyncio.gather(*map(finish, tasks), return_exceptions=True)
