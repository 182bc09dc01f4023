"""The behaviours of the hand-written store, each a test that names it, and what it lacked."""
