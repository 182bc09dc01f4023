"""The group `queue`: `commands` holds it, `push`, `pop`, `ack`, `nack` and `depth`; `watch` and `work` are modules."""
