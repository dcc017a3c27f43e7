"""Child programs and the process trees that they start."""
