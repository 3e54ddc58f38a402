"""Which rows run when, and which requests are turned away: batcher, tickets, batch rule, admission.

May import runtimes, process and settings; no web framework.
"""
