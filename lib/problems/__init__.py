"""Test problems that several papers share."""
