from typing import Literal

NanoImageDtoResolution = Literal["1K", "2K", "4K"]

NANO_IMAGE_DTO_RESOLUTION_VALUES: set[NanoImageDtoResolution] = {
    "1K",
    "2K",
    "4K",
}


def check_nano_image_dto_resolution(value: str) -> NanoImageDtoResolution:
    if value in NANO_IMAGE_DTO_RESOLUTION_VALUES:
        return value
    raise TypeError(
        f"Unexpected value {value!r}. Expected one of {NANO_IMAGE_DTO_RESOLUTION_VALUES!r}"
    )
