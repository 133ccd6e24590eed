/**
 * NestJS with class-validator, on Express.
 *
 * Settings that the contract requires, beside Nest's defaults:
 * - `@ValidateIf` for fields that may be absent: `@IsOptional` admits null.
 * - `@IsUrl` with `require_protocol`: it admits URLs without a scheme.
 */

import "reflect-metadata";
import { randomUUID } from "node:crypto";
import {
  BadRequestException, Body, CanActivate, Controller, ExecutionContext, Get, Header, HttpCode,
  Injectable, Module, NotFoundException, Param, Post, Query, Req, StreamableFile,
  UnauthorizedException, UseGuards, ValidationPipe,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import {
  ArrayMinSize, Equals, IsArray, IsIn, IsNotEmpty, IsOptional, IsString, IsUrl, Min, ValidateIf,
} from "class-validator";
import { PNG } from "pngjs";

const MODELS = ["nano-banana-fast", "nano-banana-pro", "nano-banana-2"];
const WIDE = ["1:4", "4:1", "1:8", "8:1"];
const RATIOS = ["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16", ...WIDE];
const IMAGE_URL = { protocols: ["http", "https"], require_protocol: true };

const IsGiven = (name: string) => ValidateIf((dto) => dto[name] !== undefined);

class NanoImageDto {
  @IsString()
  prompt: string;

  @IsIn(["edit", "generate"])
  action: string;

  @IsGiven("num_images")
  @Equals(1)
  num_images?: number;

  @IsGiven("image_urls")
  @IsArray()
  @IsUrl(IMAGE_URL, { each: true })
  image_urls?: string[];

  @IsGiven("aspect_ratio")
  @IsIn(RATIOS)
  aspect_ratio?: string;

  @IsGiven("model")
  @IsIn(MODELS)
  model?: string;

  @IsGiven("resolution")
  @IsIn(["1K", "2K", "4K"])
  resolution?: string;
}

type Task = { id: string; owner: string; ratio: string; createdAt: Date };

@Injectable()
class TaskService {
  private readonly tasks = new Map<string, Task>();

  create(owner: string, ratio = "1:1"): Task {
    const task = { id: randomUUID(), owner, ratio, createdAt: new Date() };
    this.tasks.set(task.id, task);
    return task;
  }

  find(id: string): Task {
    const task = this.tasks.get(id);
    if (!task) throw new NotFoundException("task not found");
    return task;
  }
}

@Injectable()
class KeyGuard implements CanActivate {
  private readonly keys = new Set(["test-token", "other-token"]);

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest();
    const [type, key] = request.headers.authorization?.split(" ") ?? [];
    if (type?.toLowerCase() !== "bearer" || !this.keys.has(key)) throw new UnauthorizedException();
    request.owner = key;
    return true;
  }
}

@Controller("gemini")
@UseGuards(KeyGuard)
class GeminiController {
  constructor(private readonly tasks: TaskService) {}

  @Post("image/generate")
  generate(@Body() dto: NanoImageDto, @Req() request: any) {
    const model = dto.model ?? "nano-banana-fast";
    if (dto.action === "edit" && !dto.image_urls?.length) {
      throw new BadRequestException("image_urls is required to edit");
    }
    if (dto.resolution !== undefined && model === "nano-banana-fast") {
      throw new BadRequestException("nano-banana-fast has no resolution");
    }
    if (WIDE.includes(dto.aspect_ratio) && model !== "nano-banana-2") {
      throw new BadRequestException("only nano-banana-2 has this aspect_ratio");
    }
    return { taskId: this.tasks.create(request.owner, dto.aspect_ratio).id };
  }

  @Get("task/result")
  result(@Query("taskId") taskId: string, @Req() request: any) {
    if (!taskId) throw new BadRequestException("taskId is required");
    const task = this.tasks.find(taskId);
    if (task.owner !== request.owner) throw new NotFoundException("task not found");
    const age = Date.now() - task.createdAt.getTime();
    const snapshot = { taskId, createdAt: task.createdAt.toISOString() };
    if (age < 30) return { ...snapshot, status: age < 10 ? "pending" : "processing" };
    const image_url = `${request.protocol}://${request.headers.host}/pictures/${taskId}`;
    return { ...snapshot, status: "completed", result: { image_url } };
  }
}

@Controller("pictures")
class PictureController {
  constructor(private readonly tasks: TaskService) {}

  @Get(":id")
  @Header("Content-Type", "image/png")
  picture(@Param("id") id: string) {
    const [width, height] = this.tasks.find(id).ratio.split(":").map((side) => 20 * Number(side));
    const image = new PNG({ width, height });
    image.data.fill(id);
    return new StreamableFile(PNG.sync.write(image));
  }
}

@Module({ controllers: [GeminiController, PictureController], providers: [TaskService] })
class AppModule {}

async function bootstrap() {
  const app = await NestFactory.create(AppModule, { logger: false });
  app.useGlobalPipes(new ValidationPipe());
  await app.listen(Number(process.argv[2]), "127.0.0.1");
}

bootstrap();
