from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.nano_image_dto_action import (
    NanoImageDtoAction,
    check_nano_image_dto_action,
)
from ..models.nano_image_dto_aspect_ratio import (
    NanoImageDtoAspectRatio,
    check_nano_image_dto_aspect_ratio,
)
from ..models.nano_image_dto_model import NanoImageDtoModel, check_nano_image_dto_model
from ..models.nano_image_dto_resolution import (
    NanoImageDtoResolution,
    check_nano_image_dto_resolution,
)
from ..types import UNSET, Unset

T = TypeVar("T", bound="NanoImageDto")


@_attrs_define
class NanoImageDto:
    """
    Attributes:
        prompt (str): The prompt which used to generate the images Example: A fluffy orange cat running through a sunny
            meadow.
        action (NanoImageDtoAction): Action type: edit (modify existing images) or generate (create new images) Example:
            generate.
        num_images (float | Unset): only support generate 1 image, default is 1 Default: 1.0.
        image_urls (list[str] | Unset): Link to the picture that needs to be edited. It can be a accessible http or
            https url, The image size should not exceed 10MB for each. If the `action` is `edit`, this parameter is
            required. Example: ['https://example.com/image1.jpg', 'https://example.com/image2.jpg'].
        aspect_ratio (NanoImageDtoAspectRatio | Unset): The aspect ratio of the image,nano-banana-2 support all aspect
            ratios, other models only support 21:9, 1:1, 4:3, 3:2, 2:3, 5:4, 4:5, 3:4, 16:9, 9:16 Example: 1:1.
        model (NanoImageDtoModel | Unset): The model of the image, default is NanoBananaFast Default: 'nano-banana-
            fast'. Example: nano-banana-fast.
        resolution (NanoImageDtoResolution | Unset): The resolution of the image, only valid when model is nano-banana-
            pro or nano-banana-2 Example: 1K.
    """

    prompt: str
    action: NanoImageDtoAction
    num_images: float | Unset = 1.0
    image_urls: list[str] | Unset = UNSET
    aspect_ratio: NanoImageDtoAspectRatio | Unset = UNSET
    model: NanoImageDtoModel | Unset = "nano-banana-fast"
    resolution: NanoImageDtoResolution | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        prompt = self.prompt

        action: str = self.action

        num_images = self.num_images

        image_urls: list[str] | Unset = UNSET
        if not isinstance(self.image_urls, Unset):
            image_urls = self.image_urls

        aspect_ratio: str | Unset = UNSET
        if not isinstance(self.aspect_ratio, Unset):
            aspect_ratio = self.aspect_ratio

        model: str | Unset = UNSET
        if not isinstance(self.model, Unset):
            model = self.model

        resolution: str | Unset = UNSET
        if not isinstance(self.resolution, Unset):
            resolution = self.resolution

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "prompt": prompt,
                "action": action,
            }
        )
        if num_images is not UNSET:
            field_dict["num_images"] = num_images
        if image_urls is not UNSET:
            field_dict["image_urls"] = image_urls
        if aspect_ratio is not UNSET:
            field_dict["aspect_ratio"] = aspect_ratio
        if model is not UNSET:
            field_dict["model"] = model
        if resolution is not UNSET:
            field_dict["resolution"] = resolution

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        prompt = d.pop("prompt")

        action = check_nano_image_dto_action(d.pop("action"))

        num_images = d.pop("num_images", UNSET)

        image_urls = cast(list[str], d.pop("image_urls", UNSET))

        _aspect_ratio = d.pop("aspect_ratio", UNSET)
        aspect_ratio: NanoImageDtoAspectRatio | Unset
        if isinstance(_aspect_ratio, Unset):
            aspect_ratio = UNSET
        else:
            aspect_ratio = check_nano_image_dto_aspect_ratio(_aspect_ratio)

        _model = d.pop("model", UNSET)
        model: NanoImageDtoModel | Unset
        if isinstance(_model, Unset):
            model = UNSET
        else:
            model = check_nano_image_dto_model(_model)

        _resolution = d.pop("resolution", UNSET)
        resolution: NanoImageDtoResolution | Unset
        if isinstance(_resolution, Unset):
            resolution = UNSET
        else:
            resolution = check_nano_image_dto_resolution(_resolution)

        nano_image_dto = cls(
            prompt=prompt,
            action=action,
            num_images=num_images,
            image_urls=image_urls,
            aspect_ratio=aspect_ratio,
            model=model,
            resolution=resolution,
        )

        nano_image_dto.additional_properties = d
        return nano_image_dto

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
