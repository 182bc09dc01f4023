// Calls the official JavaScript client as a test says, one call a line of standard input.
//
// A line is {"call": "chat", "arguments": {...}}; each answer is a line: {"part": ...} for each frame of a stream, then
// {"value": ...}, or {"failure": {"name", "message", "status"}}. The arguments of the process are the folder of
// node_modules, the address of the server, and its headers as JSON.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, host, headers] = process.argv.slice(2);
const { Ollama } = createRequire(modules + "/")("ollama");
const client = new Ollama({ host, headers: JSON.parse(headers) });

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

async function run({ call, arguments: given }) {
  const answered = await client[call](given ?? undefined);
  if (!given?.stream) {
    say({ value: answered ?? null });
    return;
  }
  for await (const part of answered) say({ part });
  say({ value: null });
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await run(JSON.parse(line));
  } catch (error) {
    const cause = error.cause?.code ?? error.cause?.message ?? "";
    say({ failure: { name: error.name, message: [error.message, cause].filter(Boolean).join(": "), status: error.status_code ?? 0 } });
  }
}
