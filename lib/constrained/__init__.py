"""Constraints and hierarchies."""
