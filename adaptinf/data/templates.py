"""What can be told of a chat template from its syntax alone."""

from __future__ import annotations

import re

from jinja2 import Environment, TemplateError, nodes

_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_FUNCTIONS = ("raise_exception", "namespace", "range", "strftime_now")
_CASES = ("upper", "lower", "title", "capitalize")
_CHOICES = ("selectattr", "rejectattr")
_COUNTS = ("length", "count", "list", "first", "last")


def passes_texts_on(template: str) -> bool:
    """Whether a template writes the texts of messages as they are, whatever they say.

    Then all conversations of so many turns, of such parts, differ in these texts alone. True only
    where no condition, loop or variable can see a text and no filter or method touches one; what
    cannot be told counts as False.
    """
    try:
        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        return _passes(environment.parse(_GENERATION.sub("", template)))
    except (TemplateError, RecursionError):
        return False


def _passes(node: nodes.Node) -> bool:
    """Of a statement and those inside."""
    if isinstance(node, nodes.Output):
        return all(map(_is_plain, node.nodes))
    return _is_harmless(node) and all(
        _is_blind(child) if isinstance(child, nodes.Expr) else _passes(child)
        for child in node.iter_child_nodes()
    )


def _is_plain(node: nodes.Node) -> bool:
    """Whether what is written is a text as it is, something blind, or one after the other."""
    if _is_text(node):
        return all(map(_is_blind, node.iter_child_nodes()))
    if isinstance(node, nodes.Add | nodes.Concat):
        return all(map(_is_plain, node.iter_child_nodes()))
    if isinstance(node, nodes.CondExpr):
        sides = [side for side in (node.expr1, node.expr2) if side is not None]
        return _is_blind(node.test) and all(map(_is_plain, sides))
    return _is_blind(node)


def _is_blind(node: nodes.Node) -> bool:
    """Whether a value is the same whatever the texts say."""
    return (
        not _is_text(node) and _is_harmless(node) and all(map(_is_blind, node.iter_child_nodes()))
    )


def _is_text(node: nodes.Node) -> bool:
    return _key(node) == "text"


def _key(node: nodes.Node) -> object:
    """The name that an access is by; None of anything else."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value
    return None


def _is_harmless(node: nodes.Node) -> bool:
    """Whether a node by itself cannot come by a text in another way than by its name."""
    match node:
        case nodes.Getitem():
            return isinstance(node.arg, nodes.Const | nodes.Slice)
        case nodes.Call():
            callee = node.node
            if isinstance(callee, nodes.Name):
                return callee.name in _FUNCTIONS
            return _key(callee) in _CASES and _is_role(callee)
        case nodes.Filter():
            if node.name in _CHOICES:
                return bool(node.args) and node.args[0] == nodes.Const("type")
            return node.name in _COUNTS or (node.name in (*_CASES, "trim") and _is_role(node))
        case nodes.Macro() | nodes.CallBlock() | nodes.FilterBlock() | nodes.AssignBlock():
            return False
        case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends():
            return False
    return True


def _is_role(node: nodes.Node) -> bool:
    """Whether a method or a filter is one of a message's role."""
    return isinstance(node, nodes.Getattr | nodes.Filter) and _key(node.node) == "role"
