"""A bundle for NVIDIA Triton: a model repository, and the Python-backend models in it. It knows a bundle's folder alone, as all of this wing does."""
