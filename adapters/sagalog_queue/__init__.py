"""A FIFO queue on the engine: `open_queue(url)`, then push, pop, ack, nack."""

from sagalog_queue.fifo import Item, Queue, default_owner, open_queue

__all__ = ["Item", "Queue", "default_owner", "open_queue"]
