from typing import Literal

NanoImageDtoAction = Literal["edit", "generate"]

NANO_IMAGE_DTO_ACTION_VALUES: set[NanoImageDtoAction] = {
    "edit",
    "generate",
}


def check_nano_image_dto_action(value: str) -> NanoImageDtoAction:
    if value in NANO_IMAGE_DTO_ACTION_VALUES:
        return value
    raise TypeError(f"Unexpected value {value!r}. Expected one of {NANO_IMAGE_DTO_ACTION_VALUES!r}")
