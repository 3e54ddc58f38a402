"""A bundle for NVIDIA Triton: a model repository, and the Python-backend models in it.

As all of this wing, it reads a bundle's folder alone.
"""
