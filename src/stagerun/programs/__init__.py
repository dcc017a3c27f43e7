"""Child programs, and the trees of processes that they start."""
