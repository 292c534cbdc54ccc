"""Claims of papers, one a file: each declares `reproduction`, and importing it does nothing else."""
