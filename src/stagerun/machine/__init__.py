"""The process we run in: CI system, identity, parents, interrupts, settings and places of files, clock."""
