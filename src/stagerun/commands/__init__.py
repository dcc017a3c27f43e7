"""One file for each command: it reads its options, asks the layers below, and prints. Beside them what they share."""
