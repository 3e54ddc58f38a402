"""The serving wing of seatrial: it knows a bundle folder, and nothing of training."""
