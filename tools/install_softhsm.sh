#!/usr/bin/env bash
# Install Debian's SoftHSM2, a PKCS#11 token in software that the tests sign with, where it is missing and that is possible.
set -euo pipefail

command -v softhsm2-util >/dev/null || "${BASH_SOURCE%/*}/install_debian.sh" SoftHSM2 'The tests of the PKCS#11 signer' softhsm2
