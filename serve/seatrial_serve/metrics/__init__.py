"""What is measured: names, labels and buckets of each metric, and how requests are counted.

May import runtimes, process and settings; no web framework.
"""
