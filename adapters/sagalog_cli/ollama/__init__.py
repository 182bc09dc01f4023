"""The group `ollama`: a gateway in front of Ollama, and what a shell asks of one."""
