"""What `sagalog_command` promises: commands as values, their run, and what their end means."""
