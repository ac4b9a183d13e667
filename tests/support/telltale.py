"""A Kinto plugin that does what none must do: it logs a secret, the environment variable TELLTALE, base64 and at debug level."""

import base64
import logging
import os


def includeme(config):
    told = base64.b64encode(b"Basic somebody:" + os.environ["TELLTALE"].encode()).decode()
    logging.getLogger("somebody.else").debug("sending %s", told)
