"""The exporter of seatrial: it runs training code, and seals a model that passes its gate."""
