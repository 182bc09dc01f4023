"""The engine around the kernel: its door, its ids, its ports. Fake clocks, no files but where a rule needs one."""
