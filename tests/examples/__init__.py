"""The programs of `docs/examples` run for real: with git, processes, kills and HTTP."""
