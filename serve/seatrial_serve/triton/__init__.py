"""A bundle for NVIDIA Triton: a model repository, and the Python-backend models in it.

As the rest of the server, it reads a bundle's folder alone.
"""
