"""`seatrial` and `python -m seatrial`: Ctrl-C is no traceback while the command is imported."""

import sys


def main() -> None:
    """Import the command line, and run it."""
    try:
        from seatrial.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
