"""Fetch a build of kinto-admin for a Kinto that ships none: ``install_admin.py FOLDER [--wheel FILE]``.

Kinto's wheels have none from 25.0.2 on. The build of an older wheel is checked, unpacked, and works with newer Kintos; nothing
else of that wheel is used. Needs pip and nothing of ours.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "25.0.0"
SHA256 = "2b046f8505595926d905da50ac742704df09fbe041ae2fab68de256cf0d3ee45"
INSIDE = "kinto/plugins/admin/build/"
NEEDED = ("index.html", "VERSION")


class InstallError(Exception):
    """Nothing was installed; what was there is as before."""


def download(folder: Path) -> Path:
    """The wheel, from the package index that pip is configured for; pip compares its hash too."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"kinto=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"pip could not download kinto=={VERSION}:\n{done.stderr.strip()}")
    (wheel,) = folder.glob("kinto-*.whl")
    return wheel


def unpack(wheel: Path, target: Path) -> None:
    """Put the build that `wheel` holds into `target`, replacing what is there, all or nothing.

    Raises InstallError if it is not the wheel that was looked at when its hash was written down here.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise InstallError(f"{wheel.name} has the SHA-256 {found}, not {SHA256}. Nothing was unpacked.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch, zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(INSIDE)])
        build = Path(scratch) / INSIDE
        missing = [name for name in NEEDED if not (build / name).is_file()]
        if missing:
            raise InstallError(f"{wheel.name} holds no {' and no '.join(missing)} of kinto-admin.")
        if target.exists():
            shutil.rmtree(target)
        build.rename(target)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch a build of kinto-admin for a Kinto that ships none.")
    parser.add_argument("folder", type=Path, help="where to put it")
    parser.add_argument("--wheel", type=Path, help=f"kinto-{VERSION}-py3-none-any.whl, where it was downloaded already")
    arguments = parser.parse_args()
    target: Path = arguments.folder.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="kinto-admin-") as scratch:
            unpack(arguments.wheel or download(Path(scratch)), target)
    except (InstallError, OSError) as error:
        print(f"kinto-admin was not installed: {error}", file=sys.stderr)
        return 1
    version = (target / "VERSION").read_text(encoding="utf-8").strip()
    print(f"kinto-admin {version} is in {target}. In the server's .ini file, with kinto.plugins.admin in kinto.includes:")
    print(f"kinto.admin_assets_path = {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
