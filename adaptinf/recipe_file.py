"""A recipe's file: its values, the line of each key, and every mistake told where it stands."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, Tag
from pydantic_core import ErrorDetails, PydanticCustomError

from adaptinf.errors import UserError, suggestion

_Key: TypeAlias = tuple[str, ...]
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
    dict: "a mapping",
    tuple[str, ...]: "a list of names",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_MOST = 50_000  # values; aliases of aliases make billions of a few lines
_DEEPEST = 8  # no setting lies deeper, and YAML aliases can form a ring


@dataclass(frozen=True, slots=True)
class NameIn:
    """Accepts the names in a tuple of a module that is imported only when a recipe is checked."""

    module: str
    attribute: str

    @property
    def names(self) -> Sequence[str]:
        """What is accepted."""
        names: Sequence[str] = getattr(import_module(self.module), self.attribute)
        return names

    def __call__(self, value: str) -> str:
        """The value. Raises pydantic's error for any other."""
        if value not in self.names:
            raise PydanticCustomError("unknown_name", "unknown name")
        return value


@dataclass(frozen=True, slots=True)
class _Seen:
    """A rejected value, shown as YAML writes it; a list or a mapping only by its kind."""

    value: Any

    def __repr__(self) -> str:
        match self.value:
            case None:
                return "null"
            case bool():
                return str(self.value).lower()
            case []:
                return "[]"
            case list():
                return "a list"
            case dict():
                return "a mapping"
        return repr(self.value)


class _Place(NamedTuple):
    line: int
    column: int


_COMMAND_LINE = _Place(sys.maxsize, 0)


@dataclass(slots=True)
class RecipeFile:
    """A recipe as it was given: its data, the place of each key, the mistakes found so far.

    ``root`` is the model of a whole recipe; ``words`` name kinds of value that it has besides the
    plain ones.
    """

    file: str
    root: Any
    words: Mapping[Any, str]
    data: Any = None
    places: dict[_Key, _Place] = field(default_factory=lambda: {(): _Place(1, 0)})
    faults: dict[tuple[_Place, _Key, str], UserError] = field(default_factory=dict)

    def read(self) -> None:
        """Read the file as ``yaml.safe_load`` does. Raises UserError where there is no mapping."""
        try:
            loader = yaml.SafeLoader(Path(self.file).read_bytes())
            root = loader.get_single_node()
            if root is not None:
                self._mark(root, ())
                self.data = loader.construct_document(root)
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=self.file) from None
        except RecursionError:
            raise UserError("lists or mappings are nested too deep", where=self.file) from None
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{self.file}:{mark.line + 1}" if mark else self.file
            what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
            raise UserError(" ".join(what.split()), where=where) from None
        if not isinstance(self.data, dict):
            what = "a recipe is a mapping of keys such as `output_dir: runs/mine`"
            raise UserError(what, where=f"{self.file}:1")

    def override(self, text: str) -> None:
        """Lay one ``key.sub=value`` over the data."""
        name, equals, raw = text.partition("=")
        key = tuple(name.split("."))
        if not equals:
            return self._fault(key, "no value", "write key.sub=value", place=_COMMAND_LINE)
        try:
            self.data = _replaced(self.data, key, yaml.safe_load(raw))
        except (yaml.YAMLError, ValueError, RecursionError):
            return self._fault(key, "not a YAML value", seen=raw, place=_COMMAND_LINE)
        except LookupError as error:
            return self._fault(key, str(error.args[0]), place=_COMMAND_LINE)
        for end in range(1, len(key)):
            self.places.setdefault(key[:end], _COMMAND_LINE)
        self.places[key] = _COMMAND_LINE

    def complain(self, detail: ErrorDetails) -> None:
        """Note what the models reject. A value that fails a choice of types is one mistake."""
        spot = _Spot((), self.root, (), {**_WORDS, **self.words}).at(detail["loc"])
        if detail["type"] == "extra_forbidden":
            name = str(detail["loc"][-1])
            self._fault((*spot.key, name), "unknown key", suggestion(name, spot.keys))
        elif detail["type"] == "missing":
            self._fault(spot.key, "missing", f"needs {spot.allowed}")
        elif detail["type"] == "told":
            self._fault(spot.key, detail["msg"])
        else:
            seen = detail["input"]
            # Lists are no names, and with aliases in them may be without end as text.
            word = "" if isinstance(seen, list | dict) else str(seen)
            near = difflib.get_close_matches(word, spot.names, n=1)
            hint = "".join(f"; did you mean {name!r}?" for name in near)
            allowed = f"allowed: {spot.allowed}{hint}"
            self._fault(spot.key, "not allowed", allowed, seen=_Seen(seen))

    def _mark(self, node: yaml.Node, key: _Key) -> None:
        """Note the place of each key under ``node``, and the keys that are given twice."""
        if isinstance(node, yaml.SequenceNode):
            children = [(str(index), item, item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            children = [(str(name.value), name, value) for name, value in node.value]
            for name, _ in node.value:
                if not name.tag.endswith(":merge"):
                    name.tag = "tag:yaml.org,2002:str"  # else a key such as `on` is no text
        else:
            if "\0" in node.value:
                self._fault(key, "a null byte, which no name can hold")
            return
        for part, start, child in children:
            below = (*key, part)
            if len(self.places) > _MOST:
                raise UserError("aliases make more of it than any recipe needs", where=self.file)
            first = self.places.get(below)
            self.places[below] = _Place(start.start_mark.line + 1, start.start_mark.column)
            if first:
                self._fault(below, "given twice", f"first on line {first.line}")
            if len(below) < _DEEPEST:
                self._mark(child, below)

    def _fault(
        self, key: _Key, what: str, hint: str = "", *, seen: Any = None, place: _Place | None = None
    ) -> None:
        at = key
        while at not in self.places:
            at = at[:-1]
        place = place or self.places[at]
        source = "command line" if place == _COMMAND_LINE else f"{self.file}:{place.line}"
        error = UserError(what, where=f"{source}: {'.'.join(key)}", seen=seen, hint=hint)
        self.faults[place, key, what] = error  # a union complains of one value several times


@dataclass(frozen=True, slots=True)
class _Spot:
    """A setting that an error speaks of: its key, its type, and the limits of its value."""

    key: _Key
    kind: Any
    limits: Sequence[Any]
    words: Mapping[Any, str]

    def at(self, loc: Sequence[int | str]) -> _Spot:
        """Follow an error's location for as far as it names settings and not kinds of value."""
        spot = self
        for part in loc:
            if isinstance(part, int) and get_origin(spot.kind) is tuple:
                spot = spot.below(part, get_args(spot.kind)[0])
            elif get_origin(spot.kind) is dict and loc[-1] != "[key]":
                spot = spot.below(part, get_args(spot.kind)[1])
            elif member := spot.member(part):
                spot = member
            elif part in spot.keys:
                info = spot.kind.model_fields[part]
                spot = spot.below(part, info.annotation, info.metadata)
            else:
                break
        return spot

    def below(self, part: int | str, kind: Any, limits: Sequence[Any] = ()) -> _Spot:
        """A setting below this one."""
        return _Spot((*self.key, str(part)), kind, limits, self.words)

    def member(self, tag: int | str) -> _Spot | None:
        """The list, of the kinds of value that a union has, with this tag."""
        if get_origin(self.kind) in (Union, UnionType):
            for tagged in get_args(self.kind):
                kind, *limits = get_args(tagged) or [tagged]
                if Tag(str(tag)) in limits and get_origin(kind) is tuple:
                    return replace(self, kind=kind, limits=limits)
        return None

    @property
    def keys(self) -> Sequence[str]:
        """Names of the settings below this one."""
        return tuple(getattr(self.kind, "model_fields", ()))

    @property
    def names(self) -> Sequence[str]:
        """Words that may be the value."""
        return [phrase.strip("'") for phrase in self.phrases() if "'" in phrase]

    @property
    def allowed(self) -> str:
        """What may be the value, for people."""
        *most, last = self.phrases()
        return f"{', '.join(most)} or {last}" if most else last

    def phrases(self) -> Iterator[str]:
        """Each value or kind of value that may be here."""
        kind, limits = self.kind, self.limits
        origin, parts = get_origin(kind), get_args(kind)
        known = [limit.func for limit in limits if isinstance(limit, AfterValidator)]
        if origin is Annotated:
            yield from replace(self, kind=parts[0], limits=parts[1:]).phrases()
        elif origin in (Union, UnionType):
            for part in parts:
                yield from replace(self, kind=part, limits=()).phrases()
        elif origin is Literal:
            yield from map(repr, parts)
        elif known and isinstance(known[0], NameIn):
            yield from map(repr, known[0].names)
        else:
            bounds = " and ".join(
                f"{sign} {getattr(limit, name)}"
                for limit in limits
                for name, sign in _SIGNS.items()
                if hasattr(limit, name)
            )
            keys = ", ".join(getattr(kind, "model_fields", ()))
            word = f"a mapping of {keys}" if keys else self.words[dict if origin is dict else kind]
            yield f"{word} {bounds}".strip()


def _replaced(node: Any, key: _Key, value: Any) -> Any:
    """``node`` with the value at ``key`` exchanged. Raises LookupError where there is no place."""
    if not key:
        return value
    first, rest = key[0], key[1:]
    if isinstance(node, list):
        if not (first.isdecimal() and int(first) < len(node)):
            raise LookupError(f"there is no item {first!r}; items are 0 to {len(node) - 1}")
        at = int(first)
        return [*node[:at], _replaced(node[at], rest, value), *node[at + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise LookupError("unknown key; what it is part of is a value")
    children = node or {}
    return {**children, first: _replaced(children.get(first), rest, value)}
