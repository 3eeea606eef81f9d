"""``python -m striate``: run the command line where the command ``striate`` is not on the path."""

from striate.cli import main

if __name__ == "__main__":
    main()
