"""The pure kernel: given events, when a command, then events or a refusal. No IO, no clock."""
