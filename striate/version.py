"""The version, where every floor can read it; pyproject.toml states the same (a test compares them)."""

VERSION = "0.1.0"
