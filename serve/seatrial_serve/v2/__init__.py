"""V2, the Open Inference Protocol: one request and one response.

HTTP and gRPC both carry them, each in bytes of its own.
"""
