"""Natural mistakes, each as an edit of one honest server, written without regard to the harness."""

from typing import NamedTuple


class Defect(NamedTuple):
    """Replaces `old`, which the server's source has exactly once, by `new`."""

    title: str
    old: str
    new: str


FASTAPI = (
    Defect("reads strings as numbers", "ConfigDict(strict=True", "ConfigDict(strict=False"),
    Defect(
        "admits true as the number of images",
        "num_images: Annotated[float, Field(ge=1, le=1)] = 1",
        "num_images: Literal[1, 1.0] = 1",
    ),
    Defect(
        "admits null for the resolution",
        'resolution: Literal["1K", "2K", "4K"] = "1K"',
        'resolution: Literal["1K", "2K", "4K"] | None = None',
    ),
    Defect(
        "forbids unknown properties",
        "ConfigDict(strict=True",
        'ConfigDict(strict=True, extra="forbid"',
    ),
    Defect("rejects an empty prompt", "prompt: str", "prompt: Annotated[str, Field(min_length=1)]"),
    Defect(
        "limits the prompt to 1,000 characters",
        "prompt: str",
        "prompt: Annotated[str, Field(max_length=1000)]",
    ),
    Defect(
        "takes the default resolution for an absent one",
        'if "resolution" in self.model_fields_set and',
        'if self.resolution != "1K" and',
    ),
    Defect(
        "does not forbid a resolution if the model is absent",
        'self.model == "nano-banana-fast":',
        'self.model == "nano-banana-fast" and "model" in self.model_fields_set:',
    ),
    Defect("forgets the ratio 8:1 in the rule", '"4:1", "1:8", "8:1")', '"4:1", "1:8")'),
    Defect(
        "lets nano-banana-pro have wide ratios",
        'self.model != "nano-banana-2"',
        'self.model == "nano-banana-fast"',
    ),
    Defect(
        "lets an edit have an empty list",
        "not self.image_urls:",
        '"image_urls" not in self.model_fields_set:',
    ),
    Defect("has a URL pattern without an anchor", 'r"^(?i', 'r"(?i'),
    Defect("shows tasks to other accounts", " or task.owner != owner", ""),
    Defect("makes every picture square", "SIZES[task.request.aspect_ratio]", 'SIZES["1:1"]'),
    Defect("names the task id task_id", '{"taskId": task_id}', '{"task_id": task_id}'),
    Defect(
        "times completed tasks out",
        '"processing", "completed"',
        '"processing", "completed", "timeout"',
    ),
    Defect(
        "points pictures at localhost:8000",
        'str(request.url_for("image", task_id=taskId))',
        'f"http://localhost:8000/files/{taskId}.png"',
    ),
    Defect(
        "crashes without an Authorization header", "HTTPBearer()", "HTTPBearer(auto_error=False)"
    ),
)

LITESTAR = (
    Defect("reads strings as numbers", "NanoImage, strict=True", "NanoImage, strict=False"),
    Defect(
        "admits null for the ratio",
        "aspect_ratio: Ratio | UnsetType",
        "aspect_ratio: Ratio | None | UnsetType",
    ),
    Defect(
        "forbids unknown properties",
        "class NanoImage(Struct)",
        "class NanoImage(Struct, forbid_unknown_fields=True)",
    ),
    Defect(
        "takes any number of images", "self.num_images not in (1, UNSET)", "self.num_images == 0"
    ),
    Defect(
        "turns the rule for edits round",
        'if self.action == "edit" and not',
        'if self.action == "generate" and',
    ),
    Defect(
        "rejects URLs of more than 255 characters",
        'Meta(pattern=r"',
        'Meta(max_length=255, pattern=r"',
    ),
    Defect("accepts ftp URLs", "^[hH][tT][tT][pP][sS]?://", "^[a-zA-Z]+://"),
    Defect("rejects http in upper case", "^[hH][tT][tT][pP][sS]?://", "^https?://"),
    Defect(
        "crashes on bodies that are not JSON",
        "(msgspec.MsgspecError, UnicodeDecodeError)",
        "msgspec.ValidationError",
    ),
    Defect("accepts any key", "or key not in ACCOUNTS", "or not key"),
    Defect("accepts any scheme", 'scheme.lower() != "bearer" or ', ""),
    Defect(
        "answers 200 to a submission",
        '"/gemini/image/generate", status_code=201',
        '"/gemini/image/generate", status_code=200',
    ),
    Defect("gives every account's tasks to everyone", " or job.key != key", ""),
    Defect(
        "reports a status that the enum lacks",
        '"assigned", "processing"',
        '"running", "processing"',
    ),
    Defect(
        "returns the page in place of the picture",
        '"url": f"{request.base_url}images/{name}"',
        '"url": f"{request.base_url}gallery/{name}"',
    ),
    Defect("swaps width and height", "size, job.color", "size[::-1], job.color"),
)

CONNEXION = (
    Defect(
        "lets an edit have no images",
        'body["action"] == "edit" and not urls',
        '"image_urls" in body and body["action"] == "edit" and not urls',
    ),
    Defect("checks the first URL only", "for url in urls)", "for url in urls[:1])"),
    Defect("searches for http anywhere in the URL", "HTTP.match(url)", "HTTP.search(url)"),
    Defect(
        "forgets the default model",
        'body.get("model", "nano-banana-fast")',
        'body.get("model", "nano-banana-2")',
    ),
    Defect(
        "lets nano-banana-fast have a resolution",
        'not in ("nano-banana-pro", "nano-banana-2")',
        'not in ("nano-banana-fast", "nano-banana-pro", "nano-banana-2")',
    ),
    Defect(
        "refuses a resolution with nano-banana-2",
        'not in ("nano-banana-pro", "nano-banana-2")',
        'not in ("nano-banana-pro",)',
    ),
    Defect(
        "lets up to four images through",
        'body.get("num_images", 1) != 1',
        'body.get("num_images", 1) > 4',
    ),
    Defect(
        "answers a broken rule with 200", '{"message": problem}, 400', '{"message": problem}, 200'
    ),
    Defect(
        "answers a broken rule with 500", '{"message": problem}, 400', '{"message": problem}, 500'
    ),
    Defect("shows tasks to other accounts", ' or task["user"] != user', ""),
    Defect(
        "answers 200 to an unknown task",
        '{"message": "task not found"}, 404',
        '{"message": "task not found"}, 200',
    ),
    Defect("gives the id as a number", '{"taskId": task_id}, 201', '{"taskId": int(task_id)}, 201'),
    Defect("cuts the picture's data", ".decode()", ".decode()[:200]"),
    Defect(
        "gives every task the first task's picture",
        "data_uri(int(taskId), task",
        'data_uri(0, tasks["0"]',
    ),
    Defect(
        "leaves the picture out",
        'snapshot["result"] = {"imageUrls": [data_uri(int(taskId), task["body"])]}',
        'snapshot["result"] = {"imageUrls": []}',
    ),
    Defect("writes dates in its own format", "2026-01-01T00:00:00Z", "01.01.2026 00:00"),
)

DJANGO = (
    Defect("admits numbers as prompts", "prompt = Text(", "prompt = serializers.CharField("),
    Defect("rejects an empty prompt", ", allow_blank=True", ""),
    Defect(
        "reads strings as numbers",
        "isinstance(data, bool) or not isinstance(data, int | float)",
        "isinstance(data, bool)",
    ),
    Defect(
        "admits null for the images",
        "child=ImageUrl(), required=False",
        "child=ImageUrl(), required=False, allow_null=True",
    ),
    Defect("uses URLField for images", "child=ImageUrl()", "child=serializers.URLField()"),
    Defect(
        "limits a request to 5 images",
        "child=ImageUrl(), required=False",
        "child=ImageUrl(), required=False, max_length=5",
    ),
    Defect("requires a ratio", "ChoiceField(RATIOS, required=False)", "ChoiceField(RATIOS)"),
    Defect("forgets the ratio 21:9", '"21:9", "1:1",', '"1:1",'),
    Defect("forgets the rule for edits", 'attrs["action"] == "edit" and not', "False and not"),
    Defect(
        "lets only an edit with images through",
        'attrs["action"] == "edit" and not attrs.get("image_urls")',
        '(attrs["action"] == "edit") != bool(attrs.get("image_urls"))',
    ),
    Defect(
        "lets nano-banana-pro have wide ratios",
        'attrs["model"] != "nano-banana-2"',
        'attrs["model"] == "nano-banana-fast"',
    ),
    Defect("finds tasks of every account", ' or task["account"] != request.user', ""),
    Defect("raises for an id that is no UUID", "except ValueError:", "except KeyError:"),
    Defect(
        "requires no key for results",
        "permission_classes = (HasAccount,)\n\n    def get",
        "permission_classes = ()\n\n    def get",
    ),
    Defect("starts over after it has completed", 'if task["polls"] > 4:', 'if task["polls"] == 5:'),
    Defect(
        "caches the first picture for all",
        "hashlib.sha256(task_id.bytes)",
        "hashlib.sha256(next(iter(TASKS)).bytes)",
    ),
)

FLASK = (
    Defect(
        "admits true as the number of images", "isinstance(value, bool) or value != 1", "value != 1"
    ),
    Defect("admits null for optional fields", "if getattr(self, name) is None:", 'if name == "":'),
    Defect("checks http in lower case only", '[^/?#@:]", re.I)', '[^/?#@:]")'),
    Defect("accepts URLs without a host", 'r"^https?://([^/?#@]*@)?[^/?#@:]"', 'r"^https?://"'),
    Defect(
        "does not validate the ratio",
        "ratio is not None and ratio not in NARROW | WIDE",
        'ratio == ""',
    ),
    Defect("forgets 4:5 in the list", '"5:4", "4:5"', '"5:4"'),
    Defect(
        "forbids a resolution only for 2K and 4K",
        "if self.resolution and",
        'if self.resolution in ("2K", "4K") and',
    ),
    Defect(
        "lets nano-banana-fast edit without images",
        'self.action == "edit" and not self.image_urls',
        'self.action == "edit" and not self.image_urls and self.model != "nano-banana-fast"',
    ),
    Defect(
        "answers 500 to a request that violates a rule",
        "except ValidationError as error",
        "except TypeError as error",
    ),
    Defect(
        "checks the key's first four characters",
        "if authorization.token not in KEYS:",
        "if authorization.token[:4] not in {key[:4] for key in KEYS}:",
    ),
    Defect(
        "does not check that the key is known",
        "if authorization.token not in KEYS:",
        "if not authorization.token:",
    ),
    Defect(
        "submits by GET too",
        '@app.post("/gemini/image/generate")',
        '@app.route("/gemini/image/generate", methods=["GET", "POST"])',
    ),
    Defect("shows tasks to other accounts", " or task.key != g.key", ""),
    Defect(
        "counts a poll of completed tasks as new work",
        "polls = task.polls",
        "polls = task.polls = task.polls % 4",
    ),
    Defect(
        "looks pictures up in lower case",
        "tasks.get(task_id) or abort(404)\n    width",
        "tasks.get(task_id.lower()) or abort(404)\n    width",
    ),
    Defect(
        "makes pictures of 1:1 for wide ratios",
        "int(side) for side in task.ratio.split",
        'int(side) for side in ("1:1" if task.ratio in WIDE else task.ratio).split',
    ),
)

AIOHTTP = (
    Defect("admits any type of prompt", '"prompt": {"type": "string"}', '"prompt": {}'),
    Defect(
        "does not require a prompt", '"required": ["prompt", "action"]', '"required": ["action"]'
    ),
    Defect("takes a URL for a list", '"type": "array",', '"type": ["array", "string"],'),
    Defect("has a URL pattern without an anchor", '"pattern": "^[hH]', '"pattern": "[hH]'),
    Defect("forgets minItems", ', "properties": {"image_urls": {"minItems": 1}}', ""),
    Defect(
        "does not require the model for a resolution",
        '"required": ["model"],\n                "properties": {"model": {"enum"',
        '"properties": {"model": {"enum"',
    ),
    Defect(
        "forgets that the ratio may be absent",
        '"if": {"required": ["aspect_ratio"], "properties"',
        '"if": {"properties"',
    ),
    Defect(
        "allows wide ratios with nano-banana-pro",
        '"properties": {"model": {"const": "nano-banana-2"}}',
        '"properties": {"model": {"enum": ["nano-banana-2", "nano-banana-pro"]}}',
    ),
    Defect(
        "adds a model of its own",
        '"nano-banana-2"]},\n        "resolution"',
        '"nano-banana-2", "nano-banana"]},\n        "resolution"',
    ),
    Defect(
        "rejects charset parameters",
        'request.content_type != "application/json"',
        'request.headers.get("Content-Type") != "application/json"',
    ),
    Defect(
        "crashes on JSON that is not valid",
        "(ValueError, RecursionError) as error",
        "RecursionError as error",
    ),
    Defect(
        "compares the start of the header",
        'hmac.compare_digest(given, f"Bearer {key}".encode())',
        'given.startswith(f"Bearer {key}".encode())',
    ),
    Defect(
        "lets tasks be read by everyone",
        'if task["key"] != request["key"]:',
        'if not request["key"]:',
    ),
    Defect(
        "names the picture by its first eight characters",
        'f"out/{task_id}.png"',
        'f"out/{task_id[:8]}.png"',
    ),
    Defect(
        "does not know a task while it is processed",
        "if task is None:",
        'if task is None or task["status"] == "processing":',
    ),
)

PLAIN = (
    Defect(
        "leaves the body of a rejected request unread",
        "        content = self.read_body()\n        try:",
        "        try:\n            self.account()\n            content = self.read_body()",
    ),
    Defect(
        "crashes on a body that is an array", "if not isinstance(body, dict):", "if body is None:"
    ),
    Defect(
        "takes truthy prompts", 'not isinstance(body.get("prompt"), str)', 'not body.get("prompt")'
    ),
    Defect(
        "crashes on an action that is a list",
        'ACTIONS = ("edit", "generate")',
        'ACTIONS = {"edit", "generate"}',
    ),
    Defect(
        "admits true as the number of images",
        "isinstance(number, bool) or number != 1",
        "number != 1",
    ),
    Defect(
        "accepts every scheme with a host",
        'parts.scheme in ("http", "https") and bool(parts.hostname)',
        "bool(parts.hostname)",
    ),
    Defect(
        "looks only for the prefix http",
        'parts.scheme in ("http", "https") and bool(parts.hostname)',
        'url.startswith("http")',
    ),
    Defect(
        "takes an object for the list of URLs",
        "not isinstance(urls, list)",
        "not isinstance(urls, list | dict)",
    ),
    Defect("needs images for every action", 'body["action"] == "edit" and not urls', "not urls"),
    Defect(
        "forgets 1:4 in the rule",
        'if body.get("aspect_ratio") in WIDE',
        'if body.get("aspect_ratio") in WIDE[1:]',
    ),
    Defect(
        "lets any scheme of authorization through",
        'scheme.lower() != "bearer" or key not in KEYS',
        "key not in KEYS",
    ),
    Defect(
        "shows tasks to other accounts", 'if task is None or task["key"] != key', "if task is None"
    ),
    Defect(
        "drops the connection for an unknown task",
        'raise Rejected(404, "no such task")',
        "raise KeyError(values[0])",
    ),
    Defect("announces a byte too many", "str(len(content))", "str(len(content) + 1)"),
    Defect(
        "sends everything as text/plain",
        'self.send_header("Content-Type", media_type)',
        'self.send_header("Content-Type", "text/plain")',
    ),
    Defect(
        "adds a slash to the picture's path", "/pictures/{values[0]}", "/pictures//{values[0]}/"
    ),
)

FALCON = (
    Defect(
        "forgets to require the action",
        'for name in ("prompt", "action"):',
        'for name in ("prompt",):',
    ),
    Defect("takes null for absent", "if name in body:", "if body.get(name) is not None:"),
    Defect(
        "compares values in lower case",
        "check(body[name] in values",
        "check(str(body[name]).lower() in {value.lower() for value in values}",
    ),
    Defect(
        "checks that the number is at least 1",
        "(int, float) and number == 1",
        "(int, float) and number >= 1",
    ),
    Defect("rejects 1.0 images", "type(number) in (int, float)", "type(number) is int"),
    Defect("checks the last URL only", "for url in urls:", "for url in urls[-1:]:"),
    Defect("requires https", 'scheme.lower() in ("http", "https")', 'scheme.lower() == "https"'),
    Defect(
        "allows a resolution for generations only",
        'model != "nano-banana-fast", "resolution"',
        'model != "nano-banana-fast" and body["action"] == "generate", "resolution"',
    ),
    Defect(
        "forgets the rule of the resolution for edits",
        'if "resolution" in body:',
        'if "resolution" in body and body["action"] == "generate":',
    ),
    Defect("crashes without a key", '(req.auth or "").partition', "req.auth.partition"),
    Defect(
        "lets the second account see the first one's tasks",
        'if task["account"] != req.context.account:',
        'if task["account"] > req.context.account:',
    ),
    Defect(
        "answers an unknown task with 200 and failed",
        "task = self._tasks.find(task_id)\n        if",
        "try:\n            task = self._tasks.find(task_id)\n"
        "        except falcon.HTTPNotFound:\n"
        '            resp.media = {"taskId": task_id, "status": "failed"}\n'
        "            return\n        if",
    ),
    Defect("answers 202 to a submission", "resp.status = 201", "resp.status = 202"),
    Defect("sends null for the errorMessage", '"errorMessage": ""', '"errorMessage": None'),
    Defect(
        "lower-cases the task id",
        '"taskId": task_id, "status"',
        '"taskId": task_id.upper(), "status"',
    ),
)

TORNADO = (
    Defect("admits true as the number of images", "isinstance(value, bool) or not", "not"),
    Defect(
        "admits null for the resolution",
        "and request.resolution is None:",
        "and request.resolution == 0:",
    ),
    Defect(
        "rejects unknown properties",
        "for name, value in body.items() if name in known",
        "for name, value in body.items()",
    ),
    Defect(
        "forgets to check the list's items",
        "validators.and_(validators.instance_of(str), validators.matches_re(IMAGE_URL))",
        "validators.instance_of(str)",
    ),
    Defect(
        "does not check that the prompt is text",
        "prompt: str = attrs.field(validator=validators.instance_of(str))",
        "prompt: str",
    ),
    Defect(
        "answers a crash to a missing action",
        "except (TypeError, ValueError, RecursionError)",
        "except ValueError",
    ),
    Defect(
        "edits without images",
        'self.action == "edit" and not self.image_urls',
        "self.image_urls is None",
    ),
    Defect(
        "has nano-banana-pro as its default model",
        'default="nano-banana-fast",',
        'default="nano-banana-pro",',
    ),
    Defect(
        "allows wide ratios for generations with every model",
        "self.aspect_ratio in WIDE and",
        'self.aspect_ratio in WIDE and self.action == "edit" and',
    ),
    Defect(
        "skips the rule of the ratio when there are several images",
        "self.aspect_ratio in WIDE and",
        "self.aspect_ratio in WIDE and len(self.image_urls) < 2 and",
    ),
    Defect(
        "takes every key that is not empty",
        'if match is None or match[1] not in ("test-token", "other-token"):',
        "if match is None:",
    ),
    Defect(
        "answers refusals with 200",
        'self.finish({"errorMessage": self._reason})',
        'self.set_status(200)\n        self.finish({"errorMessage": "refused"})',
    ),
    Defect("shows tasks to other accounts", " or task.key != self.key", ""),
    Defect("never completes a task", '"processing" if age < 0.02 else "completed"', '"processing"'),
    Defect(
        "completes a task and then fails it",
        '"processing" if age < 0.02 else "completed"',
        '"processing" if age < 0.02 else "completed" if age < 0.2 else "failed"',
    ),
    Defect(
        "gives the source for the picture",
        'urls = [f"{base}/result/{task_id}/0.png"]',
        'urls = [*sources, f"{base}/result/{task_id}/0.png"][:1]',
    ),
)

DEFECTS = {
    "aiohttp": AIOHTTP,
    "connexion": CONNEXION,
    "django": DJANGO,
    "falcon": FALCON,
    "fastapi": FASTAPI,
    "flask": FLASK,
    "litestar": LITESTAR,
    "plain": PLAIN,
    "tornado": TORNADO,
}
