"""A queueing gateway in front of Ollama: requests wait as durable tasks, those of the loaded model first."""

from sagalog_ollama.settings import PREFIX, QUEUE_PATHS, Secret, Settings, read_settings

__all__ = ["PREFIX", "QUEUE_PATHS", "Secret", "Settings", "read_settings"]
