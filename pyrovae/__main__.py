"""`python -m pyrovae`: the same as `pyrovae`."""

from pyrovae.cli.main import main

if __name__ == "__main__":
    main()
