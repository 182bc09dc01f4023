"""Random machines: every store against the memory store, with equal answers and equal states."""
