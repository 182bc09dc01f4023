"""The engine: the object that programs embed, and what it is made of."""

from sagalog.engine.facade import Engine

__all__ = ["Engine"]
