"""Folders of Hugging Face's form, read from disk into pipelines; nothing is fetched.

`from_pretrained.py` is the way in. One file of `tasks/` holds one task: its contract, its module,
its judge and its rows.
"""
