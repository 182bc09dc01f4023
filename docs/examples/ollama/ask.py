"""Ask two models in turn, many requests at a time: a gateway answers those of the loaded model first."""

import asyncio
import os
import sys
from typing import Final

import ollama

GATEWAY: Final = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11435")
ROUNDS: Final = 5


async def ask(client: ollama.AsyncClient, model: str, number: int) -> str:
    question = {"role": "user", "content": f"Say the number {number} in words."}
    answer = await client.chat(model, [question], options={"num_predict": 8})
    print(f"{model} has answered request {number}", flush=True)
    return str(answer.model)


async def main(models: list[str]) -> None:
    client = ollama.AsyncClient(GATEWAY)
    pairs = [(model, number) for number in range(ROUNDS) for model in models]
    answered = await asyncio.gather(*(ask(client, model, number) for model, number in pairs))
    print(f"{len(answered)} requests are answered")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["llama3.2", "qwen3"]))
