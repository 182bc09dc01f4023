"""The command `sagalog demo`: tasks on a git repository, done by real worker processes while things go wrong.

`command` is the command itself, and `scenario` what it does, act by act. `checks` and `log_checks` say what must be
true afterwards. This file imports nothing, so that a worker of the demo loads its handlers alone.
"""
