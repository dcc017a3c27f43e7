"""The process we run in: CI system, identity, interrupts, settings and places of files, clock."""
