"""What is remembered of runs: rules that any database obeys here, each database in a folder of its own."""
