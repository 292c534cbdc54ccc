"""Models: attention, blocks, stacks, heads, and everything around them."""
