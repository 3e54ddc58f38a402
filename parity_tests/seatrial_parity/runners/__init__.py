"""The runners: each answers raw rows in its own way, behind one interface."""
