"""A run at another place: its two ends, and the stream of frames between them."""
