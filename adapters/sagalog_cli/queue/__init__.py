"""The group `queue`: a queue for shells. `commands` has its commands; `watch` and `work` have modules of their own."""
