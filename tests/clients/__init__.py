"""The real clients of Ollama, called alike, so that one test runs with each against any address.

Rule: each helper calls the client as its users do, unchanged; what differs between clients is an exception of its own
kind, which a test catches as `ClientFailure`.
"""

from tests.clients.calls import CLIENTS, Client, ClientFailure, connected, ollama_client, openai_client
from tests.clients.node import NodeClient, node_is_there, npm_folder

__all__ = [
    "CLIENTS",
    "Client",
    "ClientFailure",
    "NodeClient",
    "connected",
    "node_is_there",
    "npm_folder",
    "ollama_client",
    "openai_client",
]
