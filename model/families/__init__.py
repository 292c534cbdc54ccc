"""Families: published shapes, each with its source, and the maps between their published form and ours."""
