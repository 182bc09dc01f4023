"""What a change touches, counted: `python -m tests.touched`."""
