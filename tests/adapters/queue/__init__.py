"""What only `sagalog_queue` promises."""
