"""An Autograph server for tests: the stand-in, made from the record of a real one, or a real one where AUTOGRAPH_URL is set."""
