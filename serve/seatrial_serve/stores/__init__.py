"""Where bundles lie beyond this machine's folders: registries and object stores, and their cache.

Works without a server: the command line pushes and pulls by it.
"""
