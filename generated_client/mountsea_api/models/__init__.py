"""Contains all the data models used in inputs/outputs"""

from .nano_image_dto import NanoImageDto
from .nano_image_dto_action import NanoImageDtoAction
from .nano_image_dto_aspect_ratio import NanoImageDtoAspectRatio
from .nano_image_dto_model import NanoImageDtoModel
from .nano_image_dto_resolution import NanoImageDtoResolution
from .task_id_dto import TaskIdDto
from .task_result_dto import TaskResultDto
from .task_result_dto_result_type_0 import TaskResultDtoResultType0
from .task_result_dto_status import TaskResultDtoStatus

__all__ = (
    "NanoImageDto",
    "NanoImageDtoAction",
    "NanoImageDtoAspectRatio",
    "NanoImageDtoModel",
    "NanoImageDtoResolution",
    "TaskIdDto",
    "TaskResultDto",
    "TaskResultDtoResultType0",
    "TaskResultDtoStatus",
)
