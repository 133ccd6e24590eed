/**
 * Express with checks written by hand.
 *
 * Express's defaults conform to the contract. Its own error handler responds in HTML, so this
 * server has another one.
 */

import { randomUUID } from "node:crypto";
import express from "express";
import { PNG } from "pngjs";

const ACCOUNTS = new Map([["test-token", "first"], ["other-token", "second"]]);
const MODELS = ["nano-banana-fast", "nano-banana-pro", "nano-banana-2"];
const RESOLUTIONS = ["1K", "2K", "4K"];
const RATIOS = ["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"];
const WIDE = ["1:4", "4:1", "1:8", "8:1"];
const tasks = new Map();

class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function isImageUrl(value) {
  if (typeof value !== "string" || !/^https?:\/\//i.test(value)) return false;
  return URL.canParse(value);
}

function check(isValid, message) {
  if (!isValid) throw new HttpError(400, message);
}

function validate(body) {
  check(body && typeof body === "object" && !Array.isArray(body), "the body must be an object");
  const { prompt, action, model = "nano-banana-fast", num_images = 1 } = body;
  const { image_urls = [], aspect_ratio = "1:1", resolution } = body;
  check(typeof prompt === "string", "prompt must be a string");
  check(action === "edit" || action === "generate", "unknown action");
  check(MODELS.includes(model), "unknown model");
  check(num_images === 1, "num_images must be 1");
  check([...RATIOS, ...WIDE].includes(aspect_ratio), "unknown aspect_ratio");
  check(Array.isArray(image_urls), "image_urls must be an array");
  check(image_urls.every(isImageUrl), "image_urls must have http or https URLs");
  check(action !== "edit" || image_urls.length > 0, "image_urls is required to edit");
  check(!WIDE.includes(aspect_ratio) || model === "nano-banana-2", "the ratio needs another model");
  if (resolution !== undefined) {
    check(RESOLUTIONS.includes(resolution), "unknown resolution");
    check(model !== "nano-banana-fast", "resolution needs another model");
  }
}

function authenticate(request, response, next) {
  const [, key] = /^Bearer ([^ ]+)$/i.exec(request.get("authorization") ?? "") ?? [];
  if (!ACCOUNTS.has(key)) throw new HttpError(401, "a valid key is required");
  request.account = ACCOUNTS.get(key);
  next();
}

const app = express();

app.post("/gemini/image/generate", authenticate, express.json(), (request, response) => {
  validate(request.body);
  const taskId = randomUUID();
  const { aspect_ratio: ratio = "1:1" } = request.body;
  tasks.set(taskId, { account: request.account, ratio, status: "pending", polls: 0 });
  response.status(201).json({ taskId });
});

app.get("/gemini/task/result", authenticate, (request, response) => {
  const { taskId } = request.query;
  check(taskId, "taskId is required");
  const task = tasks.get(taskId);
  if (!task || task.account !== request.account) throw new HttpError(404, "no such task");
  task.polls += 1;
  if (task.polls > 1) task.status = "completed";
  const url = `${request.protocol}://${request.get("host")}/images/${taskId}.png`;
  const result = task.status === "completed" ? { images: [{ url }] } : undefined;
  response.json({ taskId, status: task.status, createdAt: new Date().toISOString(), result });
});

app.get("/images/:id.png", (request, response) => {
  const task = tasks.get(request.params.id);
  if (!task) throw new HttpError(404, "no such image");
  const [width, height] = task.ratio.split(":").map((side) => 30 * Number(side));
  const image = new PNG({ width, height });
  image.data.fill(request.params.id);
  response.type("png").send(PNG.sync.write(image));
});

app.use((request) => {
  throw new HttpError(404, `no such path: ${request.path}`);
});

app.use((error, request, response, next) => {
  response.status(error.status ?? 500).json({ message: error.message });
});

app.listen(Number(process.argv[2]), "127.0.0.1");
