"""Data: documents to batches, in numpy; nothing here imports JAX."""
