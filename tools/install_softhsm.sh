#!/usr/bin/env bash
# Install Debian's SoftHSM2, a PKCS#11 token in software that the tests sign with, where it is missing.
# Where that is impossible this says so and what is left out, and ends with 0: the other tests do not need it.
set -euo pipefail

command -v softhsm2-util >/dev/null && exit 0

cannot() {
    echo "NO SOFTHSM2: $1. The tests of the PKCS#11 signer will be skipped" \
        "(on Debian: apt-get install --no-install-recommends softhsm2)." >&2
    exit 0
}

command -v apt-get >/dev/null || cannot "there is no apt-get to install it with"
root=()
if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || cannot "installing it needs root, and sudo asks for a password"
    root=(sudo -n)
fi

echo "Installing SoftHSM2 (Debian package softhsm2)"
"${root[@]}" apt-get update -qq || cannot "apt-get update failed"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends softhsm2 >/dev/null ||
    cannot "apt-get install failed"
