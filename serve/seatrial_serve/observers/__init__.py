"""The observers of requests and their answers; no request waits for them.

They are drift, live parity, feedback, log, traces and kept failures.

May import models, inference, scheduling, metrics, runtimes, v2, process and settings; no HTTP.
"""
