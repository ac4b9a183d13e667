"""Mutations of what signers published, put before a reader's whole verification: does it take any that nobody signed?

``python -m tests.support.fuzzing --help``, or ``make fuzz``. Everything follows from the seed: keys, certificates and signatures
too, so that a case is repeated by its seed and number.
"""
