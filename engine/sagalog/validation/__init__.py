"""The validation of what callers give, before the engine reads any state: values, JSON, arguments, whole calls.

Rule: an error names the argument, what was found, and what to give instead. Knows no state.
"""
