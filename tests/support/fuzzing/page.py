"""What a campaign counted, as a table to read. Nothing of it depends on the machine or on how long it took."""

from tests.support.fuzzing.campaign import Tally
from tests.support.fuzzing.material import Material


def page(tally: Tally, material: Material, seed: int | str) -> str:
    counts = tally.counts
    total = counts["mutants"]

    def share(what: str) -> str:
        return f"{counts[what]:,} ({100 * counts[what] / max(total, 1):.1f} %)"

    refused = sorted(tally.refused.items(), key=lambda item: (_number(item[0][0]), -item[1], item[0][1]))
    rows = "\n".join(f"| {where.partition(' ')[2]} | {reason} | {count:,} |" for (where, reason), count in refused)
    kinds = sorted({edit.partition(":")[0] for edit, _ in tally.edits})
    areas = "\n".join(
        f"| {kind} | {_of(tally, kind, 'refused')} | {_of(tally, kind, 'accepted, and the same')} |" for kind in kinds
    )
    labels = "; ".join(original.label for original in material.originals)
    return f"""# Mutations of what was signed

Written by `make fuzz`; not edited by hand. Each mutant is an answer that a signer published, altered: its records, signatures,
publication statement, certificate chain, or any of its bytes. It goes through everything that `kinto-updater` does with a
server's answer or with a saved file. What a reader ends with is compared, by code of its own, with what was signed: records and
signed timestamp in their canonical form, and with a statement its payload, the attributes that it covers, the name and the times.

* Seed {seed}, {total:,} mutants; `make fuzz SEED={seed}` makes the same ones.
* A signature was checked for {share("a signature was checked")}. What was checked was not what a signer had made, but an altered
  content, statement, signature or certificate, for {share("reached")}.
* Refused: {share("refused")}; the local copy was as before each time.
* Accepted: {share("accepted, and the same")}, each the same as what was signed: other white space, escapes, order of records or
  keys, attributes that nobody signs, the other half of a malleable signature, one good signature of two.
* Accepted and not what was signed, an error that is none of the project's, or more than 10 s of work: {counts["FAILED"]}.

## Where they were refused

| check | reason | mutants |
|---|---|---|
{rows}

## What was altered

A mutant with several edits counts for each of them.

| edit | refused | accepted, and the same |
|---|---|---|
{areas}

The answers: {labels}.
"""


def _number(where: str) -> int:
    number = where.partition(" ")[0]
    return int(number) if number.isdigit() else 99


def _of(tally: Tally, kind: str, became: str) -> str:
    return (
        f"{sum(count for (edit, result), count in tally.edits.items() if edit.partition(':')[0] == kind and result == became):,}"
    )
