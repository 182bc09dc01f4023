"""Commands of one call each: `create`, `list`, `show`, `worker`, `verify` and their like; one module a topic."""
