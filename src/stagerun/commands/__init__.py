"""One file for each command, which reads options, calls the layers below and prints; and what the commands share."""
