"""From a parsed request to its reply, over HTTP and gRPC alike.

May import observers, models, inference, scheduling, metrics, http, v2, process and settings.
"""
