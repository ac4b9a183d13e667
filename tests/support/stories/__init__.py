"""Attacks on readers as stories, through live servers: what `tests/test_stories.py` tells and `docs/statement.rst` promises."""
