"""From raw rows to numbers, and the proof before traffic, without a server.

The command line, parity and Triton use it.

May import runtimes, process and settings; no web framework.
"""
