// Runs the server whose TypeScript is on standard input: `node tests/servers/run.cjs PORT`.

const { readFileSync } = require("node:fs");
const { ModuleKind, ScriptTarget, transpileModule } = require("typescript");

const compilerOptions = {
  module: ModuleKind.CommonJS,
  target: ScriptTarget.ES2022,
  esModuleInterop: true,
  // For the decorators of NestJS.
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  useDefineForClassFields: false,
};
const { outputText } = transpileModule(readFileSync(0, "utf-8"), { compilerOptions });
module._compile(outputText, __filename);
