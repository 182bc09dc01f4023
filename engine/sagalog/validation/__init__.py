"""What a caller gives, checked before any state is read: single values, JSON, several at once, whole calls."""
