"""The store of sagalog on one SQLite file: the log, its projections, and fair turns for all writers.

Rule: other packages import nothing of it but `open_store`, which the entry point `sqlite` of the group `sagalog.stores`
names. It must not know the verbs of the kernel or the terminal.
"""

from sagalog_sqlite.opening import open_store

__all__ = ["open_store"]
