"""The protocol's messages, made by `make proto` from `inference.proto`.

They are in a pool of their own, so that a client's module of the same names can live beside it.
"""
