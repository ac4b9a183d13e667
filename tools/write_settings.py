"""Write docs/settings.rst from the SETTINGS table: ``write_settings.py OUTPUT``."""

import re
import sys
from pathlib import Path

from kinto_signer.plugin.settings import SETTINGS, Setting

HEAD = """.. Written by `make docs` from the table in kinto_signer/plugin/settings.py; not edited by hand.

Settings of S
=============

Each goes into the ``[app:main]`` section of S's ``.ini`` file. A setting of scope *collection* may also be set for one
source bucket or collection, and the most specific line wins: ``kinto.signer.BUCKET.COLLECTION.NAME``, then
``kinto.signer.BUCKET.NAME``, then ``kinto.signer.NAME``. The collection may be a regular expression.

The environment variable wins over the file; set secrets there.
"""

NOT_OFFERED = """
Names that are known but not offered
------------------------------------

kinto-signer 8 and kinto-remote-settings have these settings too. This release has not: switching one on is an error at
start-up.

"""


def page() -> str:
    offered = [entry(setting) for setting in SETTINGS if setting.offered]
    others = [f"* ``kinto.signer.{setting.name}``: {literal(setting.doc)}" for setting in SETTINGS if not setting.offered]
    return HEAD + "".join(offered) + (NOT_OFFERED + "\n".join(others) + "\n" if others else "")


def entry(setting: Setting) -> str:
    title = f"``kinto.signer.{setting.name}``"
    facts = [
        f":Type: {setting.type}" + (" (secret: never shown in logs and errors)" if setting.secret else ""),
        f":Default: {f'``{setting.default}``' if setting.default else 'none'}",
        f":Scope: {setting.scope}",
        f":Environment: ``KINTO_SIGNER_{re.sub('[.-]', '_', setting.name).upper()}``",
    ]
    return "\n".join(["", title, "-" * len(title), "", literal(setting.doc), "", *facts, ""])


def literal(text: str) -> str:
    return text.replace("`", "``")


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.parent.mkdir(exist_ok=True)
    output.write_text(page(), encoding="utf-8")
    print(f"{output}: {len(SETTINGS)} settings")
