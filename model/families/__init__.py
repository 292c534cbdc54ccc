"""Families: published shapes, each with its source, and the maps between their published form and ours."""

from model.families import bert, gpt2, llama
from model.published import Family

FAMILIES: dict[str, Family] = {module.FAMILY.model_type: module.FAMILY for module in (bert, gpt2, llama)}
"""Every family by the `model_type` of its config.json, in the order in which an export tries them."""
