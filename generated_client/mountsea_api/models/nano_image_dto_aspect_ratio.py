from typing import Literal

NanoImageDtoAspectRatio = Literal[
    "16:9",
    "1:1",
    "1:4",
    "1:8",
    "21:9",
    "2:3",
    "3:2",
    "3:4",
    "4:1",
    "4:3",
    "4:5",
    "5:4",
    "8:1",
    "9:16",
]

NANO_IMAGE_DTO_ASPECT_RATIO_VALUES: set[NanoImageDtoAspectRatio] = {
    "16:9",
    "1:1",
    "1:4",
    "1:8",
    "21:9",
    "2:3",
    "3:2",
    "3:4",
    "4:1",
    "4:3",
    "4:5",
    "5:4",
    "8:1",
    "9:16",
}


def check_nano_image_dto_aspect_ratio(value: str) -> NanoImageDtoAspectRatio:
    if value in NANO_IMAGE_DTO_ASPECT_RATIO_VALUES:
        return value
    raise TypeError(
        f"Unexpected value {value!r}. Expected one of {NANO_IMAGE_DTO_ASPECT_RATIO_VALUES!r}"
    )
