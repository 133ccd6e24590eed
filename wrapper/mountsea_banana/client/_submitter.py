"""What a synchronous client can submit, generated from _async_submitter.py by `make generate`."""

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
from ._tasks import Task

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto


class Submitter(ABC):
    """Submits requests: a synchronous client, or what a ledger makes of one."""

    @overload
    def generate(self, prompt: str, **options: Unpack[FastOptions]) -> Task: ...
    @overload
    def generate(self, prompt: str, **options: Unpack[ProOptions]) -> Task: ...
    @overload
    def generate(self, prompt: str, **options: Unpack[Nano2Options]) -> Task: ...
    def generate(
        self,
        prompt: str,
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | WideRatioNeeds2 | None = None,
        resolution: Resolution | ResolutionNeedsProOr2 | None = None,
    ) -> Task:
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
        return self.submit(request)

    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[FastOptions],
    ) -> Task: ...
    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[ProOptions],
    ) -> Task: ...
    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[Nano2Options],
    ) -> Task: ...
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | WideRatioNeeds2 | None = None,
        resolution: Resolution | ResolutionNeedsProOr2 | None = None,
        check_images: bool = False,
    ) -> Task:
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
        return self._submit(request, check_images=check_images)

    def submit(self, request: NanoImageDto | Mapping[str, object]) -> Task:
        """Submit a request that you built and return its task. It is charged once accepted.

        `request` is a `mountsea_api.models.NanoImageDto` or a mapping with the fields of the
        request body. It must conform to the rules of `check_request`. Raises the
        same errors as `generate`.
        """
        return self._submit(request)

    @abstractmethod
    def _submit(
        self, request: NanoImageDto | Mapping[str, object], *, check_images: bool = False
    ) -> Task:
        """Submit a request; return its task."""
