#!/usr/bin/env bash
# Install Debian's Chromium, with which the tests drive kinto-admin, where it is missing and that is possible.
set -euo pipefail

command -v chromium >/dev/null || "${BASH_SOURCE%/*}/install_debian.sh" Chromium 'The tests of kinto-admin' chromium fonts-dejavu-core
