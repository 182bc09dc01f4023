"""The engine around the kernel: its validation, its ids, its ports. Fake clocks; files only where a rule needs one."""
