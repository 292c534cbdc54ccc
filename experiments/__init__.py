"""Experiments: declarations only, one file per question asked of a paper."""
