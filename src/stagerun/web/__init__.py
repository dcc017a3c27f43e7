"""Runs in a browser. The server reads the journal, and lets child processes of stagerun do everything else."""
