"""Natural mistakes in the servers that run in Node."""

from .defects import Defect

EXPRESS = (
    Defect(
        "looks the model up in an object",
        "MODELS.includes(model)",
        "Object.fromEntries(MODELS.map((name) => [name, true]))[model]",
    ),
    Defect("compares the number loosely", "num_images === 1", "num_images == 1"),
    Defect(
        "takes null for absent",
        "const { image_urls = [],",
        "for (const name in body) if (body[name] === null) delete body[name];\n"
        "  const { image_urls = [],",
    ),
    Defect(
        "takes a falsy model for absent",
        'model = "nano-banana-fast", num_images = 1 } = body;',
        'num_images = 1 } = body;\n  const model = body.model || "nano-banana-fast";',
    ),
    Defect("checks some of the URLs", "image_urls.every(", "image_urls.some("),
    Defect("has a URL pattern without an anchor", "/^https?:", "/https?:"),
    Defect("has a URL pattern in lower case", "\\//i.test(value)", "\\//.test(value)"),
    Defect(
        "spreads what may not be a list",
        'check(Array.isArray(image_urls), "image_urls must be an array");\n'
        "  check(image_urls.every(",
        "check([...image_urls].every(",
    ),
    Defect("limits a body to 1 kB", "express.json()", 'express.json({ limit: "1kb" })'),
    Defect(
        "reads the key from the query too",
        'request.get("authorization") ?? ""',
        'request.get("authorization") ?? `Bearer ${request.query.access_token}`',
    ),
    Defect(
        "looks the key up in an object",
        "!ACCOUNTS.has(key)",
        "!Object.fromEntries(ACCOUNTS)[key]",
    ),
    Defect("submits by every method", 'app.post("', 'app.all("'),
    Defect("answers refusals with 500", "error.status ?? 500", "error.code ?? 500"),
    Defect("answers refusals with 200", "response.status(error.status ?? 500)", "response"),
    Defect("shows tasks to other accounts", " || task.account !== request.account", ""),
    Defect(
        "lets an edit with a model have no images",
        'action !== "edit" ||',
        'action !== "edit" || body.model ||',
    ),
    Defect(
        "checks the resolution of generations only",
        "if (resolution !== undefined)",
        'if (resolution !== undefined && action === "generate")',
    ),
    Defect(
        "names tasks by their time",
        "const taskId = randomUUID();",
        "const taskId = String(Date.now());",
    ),
    Defect(
        "starts over when polled again",
        'if (task.polls > 1) task.status = "completed";',
        'task.status = task.polls % 5 > 1 ? "completed" : "pending";',
    ),
    Defect("shares one picture", "fill(request.params.id)", 'fill("picture")'),
    Defect(
        "serves a picture once",
        'if (!task) throw new HttpError(404, "no such image");',
        'if (!task || task.served) throw new HttpError(404, "no such image");\n'
        "  task.served = true;",
    ),
    Defect("answers 200 to a submission", "response.status(201)", "response"),
    Defect(
        "does not await the check",
        "validate(request.body);",
        "Promise.resolve(request.body).then(validate).catch(() => {});",
    ),
)

FASTIFY = (
    Defect("coerces types", "{ coerceTypes: false", "{ coerceTypes: true"),
    Defect("coerces values to lists", "{ coerceTypes: false", '{ coerceTypes: "array"'),
    Defect("admits any number", "num_images: { const: 1 }", 'num_images: { type: "number" }'),
    Defect(
        "admits the number as text", "num_images: { const: 1 }", 'num_images: { enum: [1, "1"] }'
    ),
    Defect(
        "admits null for the ratio",
        "aspect_ratio: { enum: [...NARROW, ...WIDE] }",
        "aspect_ratio: { enum: [...NARROW, ...WIDE, null] }",
    ),
    Defect("has a URL pattern without an anchor", 'pattern: "^[hH]', 'pattern: "[hH]'),
    Defect(
        "uses the format uri",
        'pattern: "^[hH][tT][tT][pP][sS]?://[^/?#]"',
        'format: "uri"',
    ),
    Defect("uses contains for items", "items: { type", "contains: { type"),
    Defect("limits a URL to 512 characters", "items: { type", "items: { maxLength: 512, type"),
    Defect("limits the list to 10 images", "items: { type", "maxItems: 10, items: { type"),
    Defect("requires unique images", "items: { type", "uniqueItems: true, items: { type"),
    Defect(
        "rejects an empty prompt",
        'prompt: { type: "string" }',
        'prompt: { type: "string", minLength: 1 }',
    ),
    Defect("does not require the action", '["prompt", "action"]', '["prompt"]'),
    Defect("forgets 2K", '["1K", "2K", "4K"]', '["1K", "4K"]'),
    Defect(
        "forgets that the model may be absent from a wide ratio",
        'then: { required: ["model"], properties',
        "then: { properties",
    ),
    Defect(
        "forgets the condition of the resolution",
        'if: { required: ["resolution"] },',
        'if: { required: ["resolution", "aspect_ratio"] },',
    ),
    Defect("looks the key up in an object", "!Object.hasOwn(KEYS, key)", "!(key in KEYS)"),
    Defect("shows tasks to other accounts", " || task.account !== request.account", ""),
    Defect("decodes the id twice", "tasks.get(taskId)", "tasks.get(decodeURIComponent(taskId))"),
    Defect("does not encode the id in a URL", "encodeURIComponent(taskId)", "taskId"),
    Defect(
        "cancels completed tasks",
        "}, 40);",
        '}, 40);\n  setTimeout(() => {\n    task.status = "cancelled";\n  }, 900);',
    ),
    Defect(
        "leaves the id out of the response's schema",
        'taskId: { type: "string" },\n    status',
        "status",
    ),
    Defect(
        "fills pictures with the first byte",
        'fill(request.params.name, "base64")',
        "fill(request.params.name.charCodeAt(0))",
    ),
    Defect("limits a body to 16 kB", "Fastify({ ajv", "Fastify({ bodyLimit: 16384, ajv"),
)

NEST = (
    Defect("uses IsOptional for the number", '@IsGiven("num_images")', "@IsOptional()"),
    Defect("uses IsOptional for the images", '@IsGiven("image_urls")', "@IsOptional()"),
    Defect(
        "uses IsOptional for every field",
        "ValidateIf((dto) => dto[name] !== undefined)",
        "IsOptional()",
    ),
    Defect(
        "converts types",
        "new ValidationPipe()",
        "new ValidationPipe({\n    transform: true,\n"
        "    transformOptions: { enableImplicitConversion: true },\n  })",
    ),
    Defect(
        "forbids unknown properties",
        "new ValidationPipe()",
        "new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true })",
    ),
    Defect("does not validate", "  app.useGlobalPipes(new ValidationPipe());\n", ""),
    Defect(
        "crashes on an invalid body",
        "new ValidationPipe()",
        "new ValidationPipe({ exceptionFactory: (errors) => new Error(String(errors)) })",
    ),
    Defect("checks only that the prompt is not empty", "@IsString()\n", "@IsNotEmpty()\n"),
    Defect("forgets to check each URL", "IMAGE_URL, { each: true }", "IMAGE_URL"),
    Defect(
        "checks that the images are texts",
        "@IsUrl(IMAGE_URL, { each: true })",
        "@IsString({ each: true })",
    ),
    Defect("uses IsUrl with its defaults", "@IsUrl(IMAGE_URL,", "@IsUrl({},"),
    Defect("requires an image", "@IsArray()", "@IsArray()\n  @ArrayMinSize(1)"),
    Defect("forgets IsArray", "  @IsArray()\n", ""),
    Defect(
        "checks the model only if it is truthy",
        '@IsGiven("model")',
        "@ValidateIf((dto) => dto.model)",
    ),
    Defect("checks that the number is positive", "@Equals(1)", "@Min(1)"),
    Defect("forgets to check the resolution", '  @IsIn(["1K", "2K", "4K"])\n', ""),
    Defect(
        "answers 200 to a submission",
        '@Post("image/generate")',
        '@Post("image/generate")\n  @HttpCode(200)',
    ),
    Defect("does not guard its methods", "@UseGuards(KeyGuard)\n", ""),
    Defect(
        "shows tasks to other accounts",
        '    if (task.owner !== request.owner) throw new NotFoundException("task not found");\n',
        "",
    ),
    Defect(
        "crashes without a key",
        'authorization?.split(" ") ?? []',
        'authorization.split(" ")',
    ),
    Defect(
        "crashes on an unknown task",
        "if (!task) throw new NotFoundException(",
        "if (!task) throw new Error(",
    ),
    Defect(
        "lets every model have the resolution 1K",
        "dto.resolution !== undefined",
        '(dto.resolution ?? "1K") !== "1K"',
    ),
    Defect(
        "checks the ratio of generations only",
        "if (WIDE.includes(",
        'if (dto.action === "generate" && WIDE.includes(',
    ),
    Defect("gives a date as a number", "createdAt.toISOString()", "createdAt.getTime()"),
    Defect(
        "sends pictures as JSON",
        "new StreamableFile(PNG.sync.write(image))",
        "PNG.sync.write(image)",
    ),
    Defect("makes all pictures square", "this.tasks.find(id).ratio", '(id && "1:1")'),
)

NODE_DEFECTS = {"express": EXPRESS, "fastify": FASTIFY, "nest": NEST}
