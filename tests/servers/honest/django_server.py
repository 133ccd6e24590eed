"""Django REST framework with a serializer, on waitress.

Settings that the contract requires, beside the framework's defaults:
- `Text` and `Number` check the JSON type: `CharField` admits numbers, `FloatField` admits "1".
- `trim_whitespace=False` and `allow_blank=True`: an empty prompt conforms to the contract.
- A regular expression for URLs: `URLField` rejects http://images/cat.png, which conforms.
"""

import hashlib
import io
import re
import sys
import uuid
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from PIL import Image

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    LOGGING={"version": 1, "disable_existing_loggers": False, "root": {"level": "CRITICAL"}},
    ROOT_URLCONF=__name__,
    SECRET_KEY="not-secret",
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)
django.setup()

from rest_framework import serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication, get_authorization_header  # noqa: E402
from rest_framework.exceptions import AuthenticationFailed, NotFound  # noqa: E402
from rest_framework.permissions import BasePermission  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

KEYS = {b"test-token": "test-account", b"other-token": "other-account"}
WIDE_RATIOS = ["1:4", "4:1", "1:8", "8:1"]
RATIOS = [
    "21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16", *WIDE_RATIOS,
]  # fmt: skip

TASKS: dict[uuid.UUID, dict[str, Any]] = {}


class BearerAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[str, bytes] | None:
        scheme, _, key = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        if key not in KEYS:
            raise AuthenticationFailed("Unknown key.")
        return KEYS[key], key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class HasAccount(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user)


class Text(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Number(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class ImageUrl(Text):
    def to_internal_value(self, data: Any) -> str:
        url = super().to_internal_value(data)
        if not re.match(r"https?://([^/?#@]*@)?[^/?#@:]", url, re.IGNORECASE):
            raise serializers.ValidationError("Enter a valid URL.")
        return url


class NanoImageSerializer(serializers.Serializer):
    prompt = Text(trim_whitespace=False, allow_blank=True)
    action = serializers.ChoiceField(["edit", "generate"])
    num_images = Number(min_value=1, max_value=1, required=False)
    image_urls = serializers.ListField(child=ImageUrl(), required=False)
    aspect_ratio = serializers.ChoiceField(RATIOS, required=False)
    model = serializers.ChoiceField(
        ["nano-banana-fast", "nano-banana-pro", "nano-banana-2"], default="nano-banana-fast"
    )
    resolution = serializers.ChoiceField(["1K", "2K", "4K"], required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["action"] == "edit" and not attrs.get("image_urls"):
            raise serializers.ValidationError({"image_urls": "Required for an edit."})
        if "resolution" in attrs and attrs["model"] == "nano-banana-fast":
            raise serializers.ValidationError({"resolution": "Not with nano-banana-fast."})
        if attrs.get("aspect_ratio") in WIDE_RATIOS and attrs["model"] != "nano-banana-2":
            raise serializers.ValidationError({"aspect_ratio": "Only with nano-banana-2."})
        return attrs


class GenerateView(APIView):
    authentication_classes = (BearerAuthentication,)
    permission_classes = (HasAccount,)

    def post(self, request: Request) -> Response:
        serializer = NanoImageSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        task_id = uuid.uuid4()
        TASKS[task_id] = {"account": request.user, "polls": 0, **serializer.validated_data}
        return Response({"taskId": str(task_id)}, status=201)


class ResultView(APIView):
    authentication_classes = (BearerAuthentication,)
    permission_classes = (HasAccount,)

    def get(self, request: Request) -> Response:
        try:
            task_id = uuid.UUID(request.query_params.get("taskId", ""))
        except ValueError:
            raise NotFound from None
        task = TASKS.get(task_id)
        if task is None or task["account"] != request.user:
            raise NotFound
        task["polls"] += 1
        body = {
            "taskId": str(task_id),
            "status": ["pending", "ready", "processing"][task["polls"] % 3],
        }
        if task["polls"] > 4:
            url = request.build_absolute_uri(f"/media/{task_id}.jpg")
            body |= {"status": "completed", "result": {"images": [url]}}
        return Response(body)


def media(request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
    if task_id not in TASKS:
        return HttpResponse(status=404)
    width, height = map(int, TASKS[task_id].get("aspect_ratio", "1:1").split(":"))
    scale = 512 / max(width, height)
    color = tuple(hashlib.sha256(task_id.bytes).digest()[:3])
    content = io.BytesIO()
    Image.new("RGB", (round(width * scale), round(height * scale)), color).save(content, "jpeg")
    return HttpResponse(content.getvalue(), content_type="image/jpeg")


urlpatterns = [
    path("gemini/image/generate", GenerateView.as_view()),
    path("gemini/task/result", ResultView.as_view()),
    path("media/<uuid:task_id>.jpg", media),
]

if __name__ == "__main__":
    import waitress

    waitress.serve(get_wsgi_application(), host="127.0.0.1", port=int(sys.argv[1]), threads=8)
