"""Several pictures at once, in a notebook.

Paste the function into a cell, and in the next one:

    from IPython.display import Image
    pictures = await make_pictures("a cat", "a dog")
    [Image(each) for each in pictures if isinstance(each, bytes)]
"""

from __future__ import annotations

import asyncio

from mountsea_banana import AsyncNanoBanana, AsyncTask


async def make_pictures(*prompts: str) -> list[bytes | BaseException]:
    """Make one picture a prompt, all at the same time; return each's bytes, or what went wrong.

    Every id is printed before anything is waited for, so that no failure and no stopped cell
    loses a task: `await AsyncNanoBanana().task(id).wait()` picks it up.
    """
    async with AsyncNanoBanana() as banana:
        made = await asyncio.gather(*map(banana.generate, prompts), return_exceptions=True)
        for prompt, task in zip(prompts, made, strict=True):
            print(repr(task), prompt)

        async def finish(task: AsyncTask | BaseException) -> bytes:
            if isinstance(task, BaseException):
                raise task
            result = await task.wait()
            return await result.read()

        return await asyncio.gather(*map(finish, made), return_exceptions=True)
