from typing import Literal

TaskResultDtoStatus = Literal[
    "assigned", "cancelled", "completed", "failed", "pending", "processing", "ready", "timeout"
]

TASK_RESULT_DTO_STATUS_VALUES: set[TaskResultDtoStatus] = {
    "assigned",
    "cancelled",
    "completed",
    "failed",
    "pending",
    "processing",
    "ready",
    "timeout",
}


def check_task_result_dto_status(value: str) -> TaskResultDtoStatus:
    if value in TASK_RESULT_DTO_STATUS_VALUES:
        return value
    raise TypeError(
        f"Unexpected value {value!r}. Expected one of {TASK_RESULT_DTO_STATUS_VALUES!r}"
    )
