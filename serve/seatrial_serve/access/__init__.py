"""Who may ask what: keys, certificates' names and tokens, and the scopes that each has."""
