"""The record of runs: here the rules that hold for any database, and each database in a folder of its own."""
