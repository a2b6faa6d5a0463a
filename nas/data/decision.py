"""Decide what the folders of pictures are for; `nas.data.layout` says what can be decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from nas.data.layout import TEST_SHARE, Layout, Part
from nas.data.roles import Role, role_of
from nas.data.tree import Folder, looks_like_picture, read_tree
from nas.data.words import given, some
from nas.errors import DataError, count, option

Classes = dict[str, list[Folder]]  # folders by the class that their pictures are of


def read_layout(folder: Path) -> Layout:
    """Decide which files of a folder are to train on, to validate on, to test on.

        read_layout(Path("pets")).classes

    Raises:
        DataError: no such folder, or fewer than two classes, or it can be read in two ways, or
            cannot be read at all.
    """
    try:
        if not folder.is_dir():
            raise DataError(f"{given(folder)}: no such folder")
        return _Decision(folder, read_tree(folder)).layout()
    except OSError as error:
        where, why = error.filename or folder, error.strerror or error
        raise DataError(f"{given(folder)}: {where} cannot be read: {why}") from error


class _Decision:
    """Reads a tree; `notes` grows on the way."""

    def __init__(self, folder: Path, top: Folder) -> None:
        self.folder = folder
        self.top = _inner(top, is_top=True)
        self.notes: list[str] = []
        repeated = [link for below in top.walk() for link in below.repeated]
        if repeated:
            self.notes.append(
                f"{count(len(repeated), 'link')} to what is read already left out: "
                f"{self._list(repeated)}"
            )

    def layout(self) -> Layout:
        self._leave_out_files(self.top)
        parts = self._parts()
        if parts is not None:
            inner = {role: _inner(part) for role, part in parts.items()}
            for part in inner.values():
                self._leave_out_files(part)
            found = {role: self._classes(p.folders if role == "train" else p.classes)
                     for role, p in inner.items()}  # fmt: skip
            return self._of_parts({r: self._name(p) for r, p in inner.items()}, found)
        classes = self._classes(self.top.folders)
        inside = self._parts_inside(classes)
        if inside is not None:
            return self._of_parts(*inside)
        return self._of_classes(classes)

    def _parts(self) -> dict[Role, Folder] | None:
        """The folders that are parts; None where all of them are classes."""
        found: dict[str, dict[Role, list[Folder]]] = {}
        for child in self.top.classes:
            role = role_of(child.name)
            if role is not None:
                found.setdefault(role[1], {}).setdefault(role[0], []).append(child)
        families = [by for by in found.values() if "train" in by and len(by) > 1]
        if families:
            return self._of_family(families)
        bare = found.get("", {})
        trains = bare.pop("train", [])
        if bare:  # nothing to train on beside it, or classes
            held_out = [child for children in bare.values() for child in children]
            self._refuse(
                f"{_folders(held_out)} may hold pictures that are not to be trained on, or those "
                "of a class. For the first, put the other folders into `train/`; for the second, "
                f"rename it, for example to `{held_out[0].name}s/`"
            )
        others = [child for child in self.top.classes if child not in trains]
        if not others and len(trains) == 1:
            return {"train": trains[0]}
        if trains and not others:
            self._refuse_twice(trains)
        names = [_class_names(child) for child in (*trains, *others)]
        if trains and len(names) == 2 and len(names[0]) > 1 and names[0] == names[1]:
            self._refuse(
                f"{_folders([*trains, *others])} hold the same folders "
                f"({some(sorted(names[0]))}): they may be parts with classes in them, or two "
                f"classes. For the first, call the one to test on `test/`; for the second, rename "
                f"`{trains[0].name}/`, for example to `{trains[0].name}s/`"
            )
        return None

    def _of_family(self, families: list[dict[Role, list[Folder]]]) -> dict[Role, Folder]:
        """The parts among folders with names of parts."""
        members = [child for by in families for children in by.values() for child in children]
        if len(members) > sum(len(by) for by in families) or len(families) > 1:
            self._refuse_twice(members)
        parts = {role: children[0] for role, children in families[0].items()}
        others = [child for child in self.top.classes if child not in members]
        train = _class_names(parts["train"])
        held_out: dict[Role, Folder] = {r: part for r, part in parts.items() if r != "train"}
        usable: dict[Role, Folder] = {r: p for r, p in held_out.items() if _class_names(p)}
        is_shared = any(train & _class_names(part) for part in usable.values())
        if not is_shared and (usable or others or len(train) < 2):
            self._refuse(
                f"{_folders(members)} may be parts, or classes that are called so. For the first, "
                f"each needs the same class folders in it (`{parts['train'].name}/CLASS/`); for "
                f"the second, rename them, for example `{parts['train'].name}/` to "
                f"`{parts['train'].name}s/`"
            )
        for part in held_out.values():
            if part not in usable.values():
                self.notes.append(
                    f"{self._name(part)} has {part.num_pictures:,} pictures and no class folders: "
                    "they are left out"
                )
        for other in others:
            self.notes.append(
                f"{self._name(other)} is none of the parts: its {other.num_pictures:,} pictures "
                "are left out"
            )
        return {"train": parts["train"], **usable}

    def _parts_inside(self, classes: Classes) -> tuple[dict[Role, str], dict[Role, Classes]] | None:
        """Parts that each class has inside, with their names; None where not all have them."""
        names: dict[Role, str] = {}
        found: dict[Role, Classes] = {}
        for name, folders in classes.items():
            roles: set[Role | None] = set()
            for part in [part for folder in folders for part in folder.classes]:
                role = _bare_role(part)
                roles.add(role)
                if role is not None:
                    names.setdefault(role, f"*/{part.name}/")
                    found.setdefault(role, {}).setdefault(name, []).append(part)
            if "train" not in roles or not roles & {"test", "valid"} or None in roles:
                return None
        return (names, found) if found else None

    def _of_parts(self, names: dict[Role, str], found: dict[Role, Classes]) -> Layout:
        classes = self._check(found["train"], names["train"])
        parts: dict[Role, Part] = {}
        no_test = "there is no folder `test` with images to test on"
        for role, by_class in found.items():
            unknown = sorted(by_class.keys() - set(classes))
            lacking = [name for name in classes if name not in by_class]
            fault = ""
            if unknown:
                fault = f"{names[role]} has {some(unknown)}, which {names['train']} has not"
            elif lacking:
                fault = f"{names[role]} has no images of {some(lacking)}"
            if fault and role == "test":  # said now, and refused where they are to be used
                no_test = f"{fault}, so nothing can be tested"
                continue
            if unknown:
                raise DataError(
                    f"{given(self.folder)}: {fault}: the classes must be the same in both"
                )
            if fault:
                self.notes.append(fault)
            parts[role] = Part(names[role], _files(by_class, classes))
        return Layout(
            self.folder, classes, parts["train"], parts.get("valid"), parts.get("test"), no_test,
            tuple(self.notes),
        )  # fmt: skip

    def _of_classes(self, by_class: Classes) -> Layout:
        classes = self._check(by_class, self._name(self.top))
        kept: list[tuple[Path, int]] = []
        held_out: list[tuple[Path, int]] = []
        for label, name in enumerate(classes):
            files = [path for path, _ in _files({name: by_class[name]}, [name])]
            # A text that somebody adds must not change which pictures are kept back.
            places = {path: i for i, path in enumerate(filter(looks_like_picture, files))}
            for path in files:
                is_kept = places.get(path, 1) % TEST_SHARE != 0
                (kept if is_kept else held_out).append((path, label))
        return Layout(
            self.folder, classes, Part("", tuple(kept)), None, Part("", tuple(held_out)),
            notes=tuple(self.notes),
        )  # fmt: skip

    def _classes(self, folders: Sequence[Folder]) -> Classes:
        by_class: Classes = {}
        for folder in folders:
            by_class.setdefault(folder.name, []).append(folder)
        for name, same in by_class.items():
            if len(same) > 1:
                self.notes.append(f"{len(same)} folders are called {name}: they are one class")
        return by_class

    def _check(self, by_class: Classes, where: str) -> tuple[str, ...]:
        """The names of the classes to train on, sorted."""
        if len(by_class) < 2:
            raise DataError(
                f"{given(self.folder)}: {where} has {count(len(by_class), 'class folder')}, two "
                "or more are needed, each with the images of one class"
            )
        if not any(f.all_files() for folders in by_class.values() for f in folders):
            raise DataError(f"{given(self.folder)}: no images in {where}")
        for name, folders in by_class.items():
            for below in [below for folder in folders for below in _below(folder)]:
                if _bare_role(below) in ("valid", "test") and below.num_pictures:
                    self._refuse(
                        f"{self._name(below)} may hold pictures that are not to be trained on, or "
                        f"some of class {name}. For the first, move it to `{below.name}/{name}/` "
                        f"beside the pictures to train on; for the second, rename it, for example "
                        f"to `{below.name}s/`"
                    )
        return tuple(sorted(by_class))

    def _leave_out_files(self, folder: Folder) -> None:
        if folder.files:
            left_out = count(len(folder.files), "file")
            self.notes.append(f"{left_out} in no class folder left out: {self._list(folder.files)}")

    def _refuse_twice(self, parts: Sequence[Folder]) -> NoReturn:
        self._refuse(
            f"of {_folders(parts)} several may be the same part. Leave one folder for each part, "
            f"or give the one to train on, as in {option('dataset', str(parts[0].path))}"
        )

    def _refuse(self, why: str) -> NoReturn:
        raise DataError(f"{given(self.folder)} can be read in two ways: {why}")

    def _name(self, folder: Folder) -> str:
        """As people call it: its path in the folder that was given."""
        path = folder.path.relative_to(self.folder)
        return f"{path.as_posix()}/" if path.parts else str(self.folder)

    def _list(self, paths: Sequence[Path]) -> str:
        return some([path.relative_to(self.folder).as_posix() for path in paths])


def _inner(folder: Folder, *, is_top: bool = False) -> Folder:
    """The folder with the classes or parts, where folders of one folder each are around it."""
    children = folder.classes
    if len(children) != 1 or folder.num_loose:
        return folder
    if is_top and _bare_role(children[0]):
        return folder
    inner = _inner(children[0], is_top=is_top)
    is_wanted = len(inner.classes) > 1 or (is_top and any(map(_bare_role, inner.classes)))
    return inner if is_wanted else folder


def _bare_role(folder: Folder) -> Role | None:
    """What it may be, where its name says nothing else."""
    role = role_of(folder.name)
    return role[0] if role is not None and not role[1] else None


def _class_names(part: Folder) -> set[str]:
    return {child.name for child in _inner(part).classes}


def _below(folder: Folder) -> Iterator[Folder]:
    return (below for child in folder.folders for below in child.walk())


def _files(by_class: Classes, classes: Sequence[str]) -> tuple[tuple[Path, int], ...]:
    return tuple(
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(file for folder in by_class.get(name, []) for file in folder.all_files())
    )


def _folders(folders: Sequence[Folder]) -> str:
    names = [f"`{folder.name}/`" for folder in folders]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
