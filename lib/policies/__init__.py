"""Learned policies."""
