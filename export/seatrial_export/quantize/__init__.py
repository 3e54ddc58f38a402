"""Making variants of a sealed model, and proving each.

A search finds the variant that a parity budget allows.
"""
