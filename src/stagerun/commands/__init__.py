"""One file for each command. A command reads its options, asks the layers below, and prints."""
