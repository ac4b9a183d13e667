"""The table of attacks on A: who tries what, by which row of ``threats.md``, and who stops it."""
