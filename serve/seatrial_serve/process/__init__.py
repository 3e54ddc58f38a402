"""What every room may use: clock, log, memory, devices, error codes, the drain.

It imports no other room.
"""
