from typing import Literal

NanoImageDtoModel = Literal["nano-banana-2", "nano-banana-fast", "nano-banana-pro"]

NANO_IMAGE_DTO_MODEL_VALUES: set[NanoImageDtoModel] = {
    "nano-banana-2",
    "nano-banana-fast",
    "nano-banana-pro",
}


def check_nano_image_dto_model(value: str) -> NanoImageDtoModel:
    if value in NANO_IMAGE_DTO_MODEL_VALUES:
        return value
    raise TypeError(f"Unexpected value {value!r}. Expected one of {NANO_IMAGE_DTO_MODEL_VALUES!r}")
