"""What only `sagalog_sqlite` promises: its file, its locks, its statements."""
