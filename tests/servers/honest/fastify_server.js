/**
 * Fastify, which validates requests and serializes responses by JSON Schemas.
 *
 * Settings that the contract requires, beside Fastify's defaults:
 * - `coerceTypes: false`: ajv reads "1" as a number and null as an empty text.
 */

import { randomBytes } from "node:crypto";
import Fastify from "fastify";
import { PNG } from "pngjs";

const KEYS = { "test-token": 1, "other-token": 2 };
const NARROW = ["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"];
const WIDE = ["1:4", "4:1", "1:8", "8:1"];
const tasks = new Map();

const body = {
  type: "object",
  required: ["prompt", "action"],
  properties: {
    prompt: { type: "string" },
    action: { enum: ["edit", "generate"] },
    num_images: { const: 1 },
    image_urls: {
      type: "array",
      items: { type: "string", pattern: "^[hH][tT][tT][pP][sS]?://[^/?#]" },
    },
    aspect_ratio: { enum: [...NARROW, ...WIDE] },
    model: { enum: ["nano-banana-fast", "nano-banana-pro", "nano-banana-2"] },
    resolution: { enum: ["1K", "2K", "4K"] },
  },
  allOf: [
    {
      if: { properties: { action: { const: "edit" } } },
      then: {
        required: ["image_urls"],
        properties: { image_urls: { type: "array", minItems: 1 } },
      },
    },
    {
      if: { required: ["resolution"] },
      then: {
        required: ["model"],
        properties: { model: { enum: ["nano-banana-pro", "nano-banana-2"] } },
      },
    },
    {
      if: { required: ["aspect_ratio"], properties: { aspect_ratio: { enum: WIDE } } },
      then: { required: ["model"], properties: { model: { const: "nano-banana-2" } } },
    },
  ],
};

const querystring = {
  type: "object",
  required: ["taskId"],
  properties: { taskId: { type: "string" } },
};

const snapshot = {
  type: "object",
  properties: {
    taskId: { type: "string" },
    status: { type: "string" },
    result: { type: "object", properties: { imageUrl: { type: "string" } } },
  },
};

const app = Fastify({ ajv: { customOptions: { coerceTypes: false } } });

app.addHook("onRequest", async (request, reply) => {
  if (request.url.startsWith("/files/")) return;
  const [scheme, key] = (request.headers.authorization ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || !Object.hasOwn(KEYS, key)) {
    return reply.code(401).send({ message: "unauthorized" });
  }
  request.account = KEYS[key];
});

app.post("/gemini/image/generate", { schema: { body } }, async (request, reply) => {
  const taskId = randomBytes(9).toString("base64");
  const ratio = request.body.aspect_ratio ?? "1:1";
  const task = { account: request.account, status: "pending", ratio };
  tasks.set(taskId, task);
  setTimeout(() => {
    task.status = "completed";
  }, 40);
  return reply.code(201).send({ taskId });
});

const schema = { querystring, response: { 200: snapshot } };

app.get("/gemini/task/result", { schema }, async (request, reply) => {
  const { taskId } = request.query;
  const task = tasks.get(taskId);
  if (!task || task.account !== request.account) {
    return reply.code(404).send({ message: "not found" });
  }
  if (task.status !== "completed") return { taskId, status: task.status };
  const imageUrl = `http://${request.host}/files/${encodeURIComponent(taskId)}`;
  return { taskId, status: task.status, result: { imageUrl } };
});

app.get("/files/:name", async (request, reply) => {
  const task = tasks.get(request.params.name);
  if (!task) return reply.code(404).send({ message: "not found" });
  const [width, height] = task.ratio.split(":").map((side) => 9 * Number(side));
  const image = new PNG({ width, height });
  image.data.fill(request.params.name, "base64");
  return reply.type("image/png").send(PNG.sync.write(image));
});

app.listen({ port: Number(process.argv[2]), host: "127.0.0.1" });
