"""The export wing of seatrial: it knows the training world, and seals what passes its gate."""
