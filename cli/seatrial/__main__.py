"""`python -m seatrial`: the same as `seatrial`."""

from seatrial.main import main

main()
