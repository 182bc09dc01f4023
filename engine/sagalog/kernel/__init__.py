"""The pure kernel: what a task is, what may happen to it, and what each event changes.

Rule: no clock, no entropy, no IO, no threads, no logging. Time, ids and entropy are arguments; the same inputs always
give the same outputs. [RECORD-3] Read in this order: `lifecycle`, `events`, `decide`, `evolve`.
"""
