"""Write docs/settings.rst from the tables of settings: ``write_settings.py OUTPUT``."""

import re
import sys
from dataclasses import replace
from pathlib import Path

from kinto_signer.plugin.settings import Setting, Table
from kinto_signer.plugin.tables import AUTHORITY, CHANGES, RECORD_CACHE, SIGNER, TABLES

HEAD = """.. Written by `make docs` from the tables in kinto_signer/plugin/tables.py; not edited by hand.

Settings
========

Each goes into the ``[app:main]`` section of the server's ``.ini`` file. A setting of scope *collection* may also be set for
one bucket or collection (on S: the source), and the most specific line wins: ``kinto.signer.BUCKET.COLLECTION.NAME``, then
``kinto.signer.BUCKET.NAME``, then ``kinto.signer.NAME``. The collection may be a regular expression.

The environment variable wins over the file; set secrets there.
"""

PARTS = {
    SIGNER: "S, the signer (``kinto_signer``)",
    AUTHORITY: "A, the authority (``kinto_signer.authority``)",
    CHANGES: "What readers are offered (``kinto_signer.changes``, part of the other two)",
    RECORD_CACHE: "Caches (beside Kinto's own names)",
}

IDLE = """
Names that are known and mean nothing
-------------------------------------

kinto-signer 8 and kinto-remote-settings act on these settings. Here they change nothing, and switching one on is a warning at
start-up.

"""


def page() -> str:
    parts = [part(table, title) for table, title in PARTS.items()]
    others = [f"* ``kinto.{table.prefix}{row.name}``: {literal(row.doc)}" for table in TABLES for row in table.rows if row.idle]
    return HEAD + "".join(parts) + (IDLE + "\n".join(others) + "\n" if others else "")


def part(table: Table, title: str) -> str:
    table = replace(table, rows=(*table.rows, *(row for family in table.families for row in family.rows(["LABEL"]))))
    return "\n".join(["", title, "-" * len(title), *(entry(table, row) for row in table.rows if not row.idle)])


def entry(table: Table, setting: Setting) -> str:
    title = f"``kinto.{table.prefix}{setting.name}``"
    facts = [
        f":Type: {setting.type}" + (" (secret: never shown in logs and errors)" if setting.secret else ""),
        f":Default: {f'``{setting.default}``' if setting.default else 'none'}",
        f":Scope: {setting.scope}",
        f":Environment: ``KINTO_{re.sub('[.-]', '_', table.prefix + setting.name).upper()}``",
    ]
    return "\n".join(["", title, "~" * len(title), "", literal(setting.doc), "", *facts, ""])


def literal(text: str) -> str:
    return text.replace("`", "``")


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.parent.mkdir(exist_ok=True)
    output.write_text(page(), encoding="utf-8")
    print(f"{output}: {sum(len(table.rows) for table in TABLES)} settings")
