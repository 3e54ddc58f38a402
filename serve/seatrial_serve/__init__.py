"""The server of seatrial: it reads a folder of bundles, and imports no training library."""
