"""Real processes and real files: killed, paused, out of disk, out of power."""
