"""Training: one loop, its commands, and the run folder."""
