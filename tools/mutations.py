"""Mutants of the workflow: what each of them alters, where it stands, and how to put it into the running process.

A function is mutated by giving it the code of an altered source, so that whoever has imported or subscribed it runs the mutant.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """before, after: the altered text, shortened. apply: puts it into this process, for good. pair: of RULES, (old, asked)."""

    path: str
    line: int
    where: str
    before: str
    after: str
    apply: Callable[[], None] = field(repr=False)
    pair: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.where}: {self.before}  ->  {self.after}"


class Source:
    """A module with its text. name: dotted."""

    def __init__(self, name: str, root: Path) -> None:
        self.module: ModuleType = importlib.import_module(name)
        self.file = Path(str(self.module.__file__))
        self.path = str(self.file.relative_to(root))
        self.text = self.file.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        lines = self.text.encode().splitlines(keepends=True)
        return [sum(map(len, lines[:number])) for number in range(len(lines))]

    def segment(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Offsets in bytes."""
        end_line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[end_line - 1] + end

    def written(self, node: ast.expr | ast.stmt) -> str:
        first, last = self.segment(node)
        return self.text.encode()[first:last].decode()

    def altered(self, node: ast.expr | ast.stmt, text: str) -> str:
        first, last = self.segment(node)
        whole = self.text.encode()
        return (whole[:first] + text.encode() + whole[last:]).decode()


# --- tables ------------------------------------------------------------------------------------------------------------------


WITHOUT_STATUS = ("DISCARD", "DELETE")
"""Effects that no status asks for."""


def of_rules(source: Source) -> Iterator[Mutant]:
    """Every entry of RULES is dropped, and each of its fields set to each other value it can have."""
    module = source.module
    for key, (old, asked) in zip(_table(source, "RULES").keys, module.RULES, strict=True):
        rule = module.RULES[old, asked]

        def mutant(what: str, new: Any, *, pair: Any = (old, asked), line: int = key.lineno if key else 0) -> Mutant:
            def apply() -> None:
                module.RULES.pop(pair)
                if new is not None:
                    module.RULES[pair] = new

            names = tuple(status.value for status in pair)
            before = f"{names[0] or 'none'} -> {names[1]}"
            return Mutant(source.path, line, "RULES", before, what, apply, names)

        yield mutant("dropped", None)
        for name, value in _other_fields(module, rule, old):
            yield mutant(f"{name} = {value}", replace(rule, **{name: value}))
    yield from _rules_for_what_is_refused(source)


def _other_fields(module: ModuleType, rule: Any, old: Any) -> Iterator[tuple[str, Any]]:
    for effect in module.Effect:
        if effect is not rule.effect and effect.name not in WITHOUT_STATUS:
            yield "effect", effect
    stays = rule.becomes if rule.becomes is not None else old
    for status in (None, module.Status.WORK_IN_PROGRESS, module.Status.TO_REVIEW, module.Status.SIGNED):
        if (status if status is not None else old) is not stays:
            yield "becomes", status
    for group in (None, module.EDITORS, module.REVIEWERS):
        if group != rule.group:
            yield "group", group
    if not rule.unreviewed:  # those hold without reviews only, where there are no four eyes
        yield "four_eyes", not rule.four_eyes
    yield "unreviewed", not rule.unreviewed


def _rules_for_what_is_refused(source: Source) -> Iterator[Mutant]:
    """A rule for each pair that has none."""
    module = source.module
    line = _table(source, "RULES").lineno
    for old in (module.Status.NONE, module.Status.WORK_IN_PROGRESS, module.Status.TO_REVIEW, module.Status.SIGNED):
        for asked in module.Status:
            if (old, asked) not in module.RULES and asked is not old:

                def apply(pair: Any = (old, asked)) -> None:
                    module.RULES[pair] = module.Rule(module.Effect.NOTHING, pair[1])

                before = f"{old.value or 'none'} -> {asked.value or 'none'}"
                yield Mutant(source.path, line, "RULES", before, "allowed", apply, (old.value, asked.value))


def of_tuple(source: Source, name: str) -> Iterator[Mutant]:
    """Each element of a tuple of the module is left out in turn, wherever it was imported to."""
    whole = getattr(source.module, name)
    line = _assignment(source, name).lineno
    for number, element in enumerate(whole):

        def apply(kept: tuple[Any, ...] = whole[:number] + whole[number + 1 :]) -> None:
            for module in [module for key, module in sys.modules.items() if key.startswith("kinto_signer")]:
                if getattr(module, name, None) is whole:
                    setattr(module, name, kept)

        yield Mutant(source.path, line, name, repr(element), "dropped", apply)


def _assignment(source: Source, name: str) -> ast.Assign | ast.AnnAssign:
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(found, ast.Name) and found.id == name for target in targets for found in ast.walk(target)):
                return node
    raise LookupError(f"{source.path} has no {name}.")


def _table(source: Source, name: str) -> ast.Dict:
    value = _assignment(source, name).value
    if not isinstance(value, ast.Dict):
        raise LookupError(f"{name} of {source.path} is no dictionary.")
    return value


# --- functions ---------------------------------------------------------------------------------------------------------------


def of_function(source: Source, name: str) -> Iterator[Mutant]:
    """Conditions forced and inverted, their parts left out, guards that are called for nothing but their refusal left out."""
    function = _find(source, name)
    forced: set[ast.AST] = set()
    for node in ast.walk(function):
        for old, new in _alterations(node):
            if new in ("True", "False"):
                forced.add(old)
            elif old in forced and isinstance(old, ast.Compare):
                continue  # inverted is forced, for each of its values
            text = source.altered(old, new)
            code = _code_of(compile(text, str(source.file), "exec"), name)

            def apply(code: CodeType = code) -> None:
                _live(source.module, name).__code__ = code

            yield Mutant(source.path, old.lineno, name, _short(source.written(old)), _short(new), apply)


def _alterations(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """(what is replaced, by which text)."""
    if isinstance(node, ast.If | ast.IfExp):
        yield node.test, "False"
        yield node.test, "True"
    if isinstance(node, ast.Return) and node.value and _is_condition(node.value):
        yield node.value, "False"
        yield node.value, "True"
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield test, "True"
            yield test, "False"
    if isinstance(node, ast.BoolOp):
        for number in range(len(node.values)):
            kept = node.values[:number] + node.values[number + 1 :]
            yield node, ast.unparse(ast.BoolOp(node.op, kept) if len(kept) > 1 else kept[0])
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _INVERSE:
        yield node, "(" + ast.unparse(ast.Compare(node.left, [_INVERSE[type(node.ops[0])]()], node.comparators)) + ")"
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"


_INVERSE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def _is_condition(value: ast.expr) -> bool:
    negated = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    called = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("bool", "all", "any")
    return negated or called or isinstance(value, ast.BoolOp | ast.Compare)


def _find(source: Source, name: str) -> ast.FunctionDef:
    body: list[ast.stmt] = source.tree.body
    *classes, last = name.split(".")
    for wanted in classes:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == wanted)
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == last:
            return node
    raise LookupError(f"{source.path} has no {name}.")


def _code_of(code: CodeType, name: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if name.startswith(f"{constant.co_qualname}."):
                return _code_of(constant, name)
    raise LookupError(name)


def _live(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:87]}..."
