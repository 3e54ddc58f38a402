"""Who looks at requests and their answers: drift, live parity, feedback, log, traces, kept failures. No request waits for them.

May import models, inference, scheduling, metrics, runtimes, v2, process and settings; no HTTP.
"""
