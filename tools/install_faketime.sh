#!/usr/bin/env bash
# Install Debian's libfaketime, with which the tests give whole processes another clock, where it is missing and that is possible.
set -euo pipefail

compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || "${BASH_SOURCE%/*}/install_debian.sh" faketime 'The tests of whole processes with a wrong clock' libfaketime
