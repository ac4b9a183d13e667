"""The application for a WSGI server: ``KINTO_INI=signer.ini granian --interface wsgi config/wsgi.py:application``.

With waitress instead: ``kinto start --ini signer.ini`` (this file is not used then).
"""

import os

from pyramid.paster import get_app, setup_logging

ini = os.environ["KINTO_INI"]
setup_logging(ini)
application = get_app(ini)
