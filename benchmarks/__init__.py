"""Whole processes, measured side by side: stagerun, bare floors, and peers that do the same. `make bench` runs them."""
