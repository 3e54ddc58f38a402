"""seatrial_client: ask a server's models from Python, typed from their contracts."""
