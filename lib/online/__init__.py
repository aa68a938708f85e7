"""Deciding online: papers in which each decision is made before the next input is seen."""
