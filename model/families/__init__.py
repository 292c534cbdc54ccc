"""Families: published shapes, each with its source."""
