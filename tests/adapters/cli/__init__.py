"""What only the command `sagalog` promises."""
