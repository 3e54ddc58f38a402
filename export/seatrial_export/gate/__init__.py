"""The export gate: the conditions under which a model is sealed.

Each group of checks is one file; their order is that of `gate.STEPS`.
"""
