"""Text made safe and readable: untrusted text, secrets and their masking, tracebacks, words, sentences, JSON."""
