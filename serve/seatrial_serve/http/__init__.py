"""Bytes on HTTP connections: accepting, framing, headers, hosts, bodies; no model is known here.

May import process and settings.
"""
