"""A small Ollama for tests: its routes, its frames and its one resident model, with real tokens of a real tiny model.

Rule: it behaves as the real one where a gateway can see it, and tells a test afterwards what happened in it. It knows
nothing of sagalog. `OllamaServer` runs it in a thread, `python -m tests.ollama_server` as a process.
"""

from tests.ollama_server.record import History, Load, Record, Request, Unload
from tests.ollama_server.serving import OllamaServer
from tests.ollama_server.settings import Settings

__all__ = ["History", "Load", "OllamaServer", "Record", "Request", "Settings", "Unload"]
