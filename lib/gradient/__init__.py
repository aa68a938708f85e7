"""Better gradient steps."""
