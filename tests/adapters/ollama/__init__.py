"""Tests of the gateway in front of Ollama."""
