#!/usr/bin/env bash
# Install the JavaScript clients that the tests read A with (tests/clients/package-lock.json) into a folder.
# Where there is no Node.js and we are root on Debian, it is installed first; otherwise this says what to do.
set -euo pipefail

folder=${1:?the folder to install into}
here=$(cd "$(dirname "$0")/../tests/clients" && pwd)

if ! { command -v node && command -v npm; } >/dev/null; then
    if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
        echo "Installing Node.js (Debian packages nodejs and npm)"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm >/dev/null
    else
        echo "The tests with clients in JavaScript need Node.js 18 or newer with npm" \
            "(on Debian: apt-get install nodejs npm)." >&2
        exit 1
    fi
fi
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' ||
    { echo "Node.js 18 or newer is needed; $(command -v node) is $(node --version)." >&2; exit 1; }

mkdir -p "$folder"
cp "$here"/{package.json,package-lock.json} "$folder"
# No scripts: one of the clients depends on playwright, which is not used here.
npm --prefix "$folder" ci --ignore-scripts --no-audit --no-fund --loglevel=error
