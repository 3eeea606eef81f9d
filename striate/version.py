"""The version of striate; pyproject.toml states the same one (a test compares them).

It has a module of its own, which imports nothing, so that every package may import it.
"""

VERSION = "0.1.0"
