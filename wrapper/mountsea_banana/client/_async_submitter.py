"""What an asynchronous client can submit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack, overload

from mountsea_banana.rules._models import (
    AspectRatio,
    FastOptions,
    Model,
    Nano2Options,
    ProOptions,
    Resolution,
    ResolutionNeedsProOr2,
    WideRatioNeeds2,
)

from . import _requests
from ._async_tasks import AsyncTask

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto


class AsyncSubmitter(ABC):
    """Submits requests: an asynchronous client, or what a ledger makes of one."""

    @overload
    async def generate(self, prompt: str, **options: Unpack[FastOptions]) -> AsyncTask: ...
    @overload
    async def generate(self, prompt: str, **options: Unpack[ProOptions]) -> AsyncTask: ...
    @overload
    async def generate(self, prompt: str, **options: Unpack[Nano2Options]) -> AsyncTask: ...
    async def generate(
        self,
        prompt: str,
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | WideRatioNeeds2 | None = None,
        resolution: Resolution | ResolutionNeedsProOr2 | None = None,
    ) -> AsyncTask:
        """Start generating an image and return its task. It is charged once accepted.

        Options that are None are not sent. `FastOptions`, `ProOptions` and `Nano2Options` list
        what each model supports; without a `model`, the options are those of `FastOptions`.

        Raises InvalidRequest before anything is sent, SubmissionUnknown if you may have been
        charged without getting a task, and APIConnectionError or APIStatusError if nothing was
        charged.
        """
        request = _requests.fields(
            "generate", prompt, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )
        return await self.submit(request)

    @overload
    async def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[FastOptions],
    ) -> AsyncTask: ...
    @overload
    async def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[ProOptions],
    ) -> AsyncTask: ...
    @overload
    async def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[Nano2Options],
    ) -> AsyncTask: ...
    async def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | WideRatioNeeds2 | None = None,
        resolution: Resolution | ResolutionNeedsProOr2 | None = None,
        check_images: bool = False,
    ) -> AsyncTask:
        """Start editing images and return the task. It is charged once accepted.

        `image_urls` is one http(s) URL or a sequence of them. With `check_images`, each image is
        requested first, without the key. Raises InvalidRequest if one is unreachable, not an image,
        or larger than 10 MB, the vendor's limit. The other arguments and errors are those of
        `generate`.
        """
        request = _requests.fields(
            "edit",
            prompt,
            image_urls=_requests.as_list(image_urls),
            model=model,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
        )
        return await self._submit(request, check_images=check_images)

    async def submit(self, request: NanoImageDto | Mapping[str, object]) -> AsyncTask:
        """Submit a request that you built and return its task. It is charged once accepted.

        `request` is a `mountsea_api.models.NanoImageDto` or a mapping with the fields of the
        request body. It must conform to the rules of `check_request`. Raises the
        same errors as `generate`.
        """
        return await self._submit(request)

    @abstractmethod
    async def _submit(
        self, request: NanoImageDto | Mapping[str, object], *, check_images: bool = False
    ) -> AsyncTask:
        """Submit a request; return its task."""
