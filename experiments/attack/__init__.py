"""Attacks on the commands: each prints what it tried, what came of it, and ends with 1 where something was not as it must be."""
