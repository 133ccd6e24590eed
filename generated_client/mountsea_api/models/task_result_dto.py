from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.task_result_dto_status import (
    TaskResultDtoStatus,
    check_task_result_dto_status,
)
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.task_result_dto_result_type_0 import TaskResultDtoResultType0


T = TypeVar("T", bound="TaskResultDto")


@_attrs_define
class TaskResultDto:
    """
    Attributes:
        task_id (str): The task's id, as the submission returned it
        status (TaskResultDtoStatus): Where the task stands; completed, failed, cancelled and timeout are final
        result (None | TaskResultDtoResultType0 | Unset): The output of a completed task; its shape depends on the kind
            of task
        error_message (str | Unset): Why the task failed
        error_code (float | Unset): The vendor's code for the failure
        finished_at (datetime.datetime | Unset): When the task reached a final status
        created_at (datetime.datetime | Unset): When the task was created
        trace_id (str | Unset): An id to quote to the vendor's support
    """

    task_id: str
    status: TaskResultDtoStatus
    result: None | TaskResultDtoResultType0 | Unset = UNSET
    error_message: str | Unset = UNSET
    error_code: float | Unset = UNSET
    finished_at: datetime.datetime | Unset = UNSET
    created_at: datetime.datetime | Unset = UNSET
    trace_id: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.task_result_dto_result_type_0 import (
            TaskResultDtoResultType0,  # noqa: PLC0415
        )

        task_id = self.task_id

        status: str = self.status

        result: dict[str, Any] | None | Unset
        if isinstance(self.result, Unset):
            result = UNSET
        elif isinstance(self.result, TaskResultDtoResultType0):
            result = self.result.to_dict()
        else:
            result = self.result

        error_message = self.error_message

        error_code = self.error_code

        finished_at: str | Unset = UNSET
        if not isinstance(self.finished_at, Unset):
            finished_at = self.finished_at.isoformat()

        created_at: str | Unset = UNSET
        if not isinstance(self.created_at, Unset):
            created_at = self.created_at.isoformat()

        trace_id = self.trace_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "taskId": task_id,
                "status": status,
            }
        )
        if result is not UNSET:
            field_dict["result"] = result
        if error_message is not UNSET:
            field_dict["errorMessage"] = error_message
        if error_code is not UNSET:
            field_dict["errorCode"] = error_code
        if finished_at is not UNSET:
            field_dict["finishedAt"] = finished_at
        if created_at is not UNSET:
            field_dict["createdAt"] = created_at
        if trace_id is not UNSET:
            field_dict["traceId"] = trace_id

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.task_result_dto_result_type_0 import (
            TaskResultDtoResultType0,  # noqa: PLC0415
        )

        d = dict(src_dict)
        task_id = d.pop("taskId")

        status = check_task_result_dto_status(d.pop("status"))

        def _parse_result(data: object) -> None | TaskResultDtoResultType0 | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                result_type_0 = TaskResultDtoResultType0.from_dict(data)

                return result_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | TaskResultDtoResultType0 | Unset, data)

        result = _parse_result(d.pop("result", UNSET))

        error_message = d.pop("errorMessage", UNSET)

        error_code = d.pop("errorCode", UNSET)

        _finished_at = d.pop("finishedAt", UNSET)
        finished_at: datetime.datetime | Unset
        if isinstance(_finished_at, Unset):
            finished_at = UNSET
        else:
            finished_at = datetime.datetime.fromisoformat(_finished_at)

        _created_at = d.pop("createdAt", UNSET)
        created_at: datetime.datetime | Unset
        if isinstance(_created_at, Unset):
            created_at = UNSET
        else:
            created_at = datetime.datetime.fromisoformat(_created_at)

        trace_id = d.pop("traceId", UNSET)

        task_result_dto = cls(
            task_id=task_id,
            status=status,
            result=result,
            error_message=error_message,
            error_code=error_code,
            finished_at=finished_at,
            created_at=created_at,
            trace_id=trace_id,
        )

        task_result_dto.additional_properties = d
        return task_result_dto

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
