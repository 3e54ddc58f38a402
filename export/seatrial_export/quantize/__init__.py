"""Making variants of a sealed model, proving each, and searching for the one that a parity budget allows."""
