"""A served model, its versions from folder to traffic, and the values of one request.

May import inference, scheduling, metrics, runtimes, v2, process and settings; no HTTP.
"""
