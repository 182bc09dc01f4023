"""`sagalog demo`: each check can fail, the output fits a screen, and the demo leaves no process behind."""
