"""Engines, loaded, proven and run by batches: in this process, or in one that several share.

If server processes (fronts) share an engine process, each has one connection to it for each version
that it serves. Rows go out and answers come back over that, in the frames of `wire`.
"""
