"""Workers: what handlers may do, what becomes of their work, and what may go wrong."""
