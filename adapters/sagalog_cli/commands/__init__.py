"""The commands of one call each, one module a topic; each module's first line names its commands."""
