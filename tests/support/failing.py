"""A test that fails; for tests of tools that run tests."""


def test_that_fails():
    raise AssertionError
