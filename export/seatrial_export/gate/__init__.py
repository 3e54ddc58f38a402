"""The export gate: what must hold before a model is sealed, one file for each group of checks, in the order of `gate.STEPS`."""
