"""Workspace files and folders, and files of volumes: files below the state folder."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from infra.rehearsal.api import USER, ApiError, Document, exists, invalid, missing, now
from infra.rehearsal.store import Store

MOST_BYTES = 10 * 1024 * 1024
"""What one import may hold."""
_LONGEST_NAME = 255
_LONGEST_PATH = 2048
"""Bytes; what the machine's file system takes, less where the state folder lies."""
_FOLDERS = ("/Shared", f"/Users/{USER}", f"/Repos/{USER}")
_SPECIAL = ("/", "/Shared", "/Users", "/Repos")
_NOTEBOOK = b"# Databricks notebook source"
_LANGUAGES = {".py": "PYTHON", ".sql": "SQL", ".scala": "SCALA", ".r": "R"}
_PERMISSIONS = {"FILE": "files", "NOTEBOOK": "notebooks", "DIRECTORY": "directories", "REPO": "repos"}


def clean(path: str) -> str:
    """A workspace path in its one form: without ``/Workspace`` before it and a slash behind it."""
    if not path.startswith("/"):
        raise invalid(f"Path ({path}) doesn't start with '/'")
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts or "\0" in path:
        raise invalid(f"Path ({path}) leads out of its folder")
    if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise invalid(f"Path ({path}) is too long; accepted: {_LONGEST_NAME} bytes a name, {_LONGEST_PATH} in all")
    return "/" + "/".join(parts[1:] if parts[:1] == ("Workspace",) else parts)


class Files:
    """The workspace's tree.

    Args:
        store: Where the objects' ids are kept.
        state: The folder below which the files lie.
    """

    def __init__(self, store: Store, state: Path) -> None:
        self._store = store
        self.lock = store.lock
        self._root = state / "workspace"
        self._volumes = state / "volumes"
        self._models = state / "models"
        self.uploads = state / "uploads"
        """What is not yet received whole."""
        shutil.rmtree(self.uploads, ignore_errors=True)
        for folder in _FOLDERS:
            self._root.joinpath(folder[1:]).mkdir(parents=True, exist_ok=True)

    def _file(self, path: str) -> Path:
        return self._root / path[1:]

    def library(self, path: str) -> Path | None:
        """The file that a job's library names; ``None`` where there is none."""
        found = self.volume_file(path) if path.startswith("/Volumes/") else self._file(clean(path))
        return found if found.is_file() else None

    def volume_file(self, path: str) -> Path:
        """The file that stands for a path of a volume, or of a model's version."""
        parts = PurePosixPath(clean(path)).parts[1:]
        if any("." in part for part in parts[1:4]):
            raise invalid(f"Invalid path {path}: a period in the name of a catalog, schema, volume or model")
        if parts[:1] == ("Models",) and len(parts) > 4:
            folder = self.model_folder(".".join(parts[1:4]), parts[4])
            if not folder.is_dir():
                raise ApiError(404, "NOT_FOUND", f"Model version {'.'.join(parts[1:4])}/{parts[4]} does not exist.")
            return folder.joinpath(*parts[5:])
        if len(parts) < 4 or parts[0] != "Volumes":
            raise invalid(f"Invalid path {path}: expected /Volumes/catalog/schema/volume/...")
        name = ".".join(parts[1:4])
        if self._store.get("volumes", name.lower()) is None:
            raise ApiError(404, "NOT_FOUND", f"Volume '{name}' does not exist.")
        return self._volumes.joinpath(*name.lower().split("."), *parts[4:])

    def drop_volume(self, name: str) -> None:
        """Remove the files of a volume."""
        shutil.rmtree(self._volumes.joinpath(*name.split(".")), ignore_errors=True)

    def model_folder(self, name: str, version: str) -> Path:
        """Where the files of a model's version lie."""
        return self._models.joinpath(*name.lower().split("."), version)

    def open_file(self, path: str) -> Path:
        """The file that stands for a path, if it may be written or removed.

        What a version of a model consists of is written before the version is ready, and never again.
        """
        self.volume_file(path)
        parts = PurePosixPath(clean(path)).parts[1:]
        if parts[:1] == ("Models",) and len(parts) > 4:
            version = f"{'.'.join(parts[1:4]).lower()}/{parts[4]}"
            if (self._store.get("versions", version) or {}).get("status") == "READY" or len(parts) == 5:
                raise ApiError(403, "PERMISSION_DENIED", f"The files of model version {version} can't be changed.")
        return self.volume_file(path)

    def drop_model(self, name: str, version: str = "") -> None:
        """Remove the files of a version, or of all."""
        shutil.rmtree(self.model_folder(name, version), ignore_errors=True)

    def rename_model(self, old: str, new: str) -> None:
        """Keep the files of a model under its new name."""
        if self.model_folder(old, "").is_dir():
            shutil.move(self.model_folder(old, ""), self.model_folder(new, ""))

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""
        return self._file(path).is_dir()

    def is_there(self, path: str) -> bool:
        """Whether there is a file or folder."""
        return self._file(path).exists()

    def status(self, path: str) -> Document:
        """The workspace's description of an object."""
        path = clean(path)
        file = self._file(path)
        if not file.exists():
            raise missing(f"Path ({path}) doesn't exist.")
        with self._store.lock:
            kept = self._store.get("objects", path)
            if kept is None:
                kept = {"object_id": self._store.number(), "created_at": now(), "path": path}
                self._store.put("objects", path, kept)
        kind = "DIRECTORY" if file.is_dir() else "FILE"
        shown: Document = {"object_type": kind, "resource_id": str(kept["object_id"])} | kept
        if kind == "FILE" or shown["object_type"] == "NOTEBOOK":
            changed = int(file.stat().st_mtime * 1000)
            shown |= {"modified_at": changed, "size": file.stat().st_size}
        return shown

    def has(self, kind: str, object_id: str) -> bool:
        """Whether an object of a kind has this id."""
        known = (entry for entry in self._store.all("objects") if str(entry["object_id"]) == object_id)
        return any(_PERMISSIONS[self.status(entry["path"])["object_type"]] == kind for entry in known)

    def path_of(self, object_id: str) -> str:
        """Where the object with an id is; nowhere if there is none."""
        return next((str(one["path"]) for one in self._store.all("objects") if str(one["object_id"]) == object_id), "")

    def children(self, path: str) -> list[Document]:
        """What is in a folder; the object itself if it is not a folder."""
        shown = self.status(path)
        if shown["object_type"] != "DIRECTORY" and not self.is_folder(shown["path"]):
            return [shown]
        below = shown["path"].rstrip("/")
        return [self.status(f"{below}/{file.name}") for file in sorted(self._file(shown["path"]).iterdir())]

    @staticmethod
    def destination(path: str, content: bytes, form: str) -> str:
        """Where an import goes: that of a notebook in automatic format leaves out the suffix."""
        path, notebook = clean(path), form == "AUTO" and content.startswith(_NOTEBOOK)
        return path.removesuffix(PurePosixPath(path).suffix) if notebook else path

    def write(self, path: str, content: bytes, *, form: str, language: str | None, overwrite: bool) -> Document:
        """Import a file or a notebook."""
        suffix, path = PurePosixPath(clean(path)).suffix.lower(), self.destination(path, content, form)
        if len(content) > MOST_BYTES:
            message = f"File size imported is ({len(content)} bytes), exceeded max size ({MOST_BYTES} bytes)"
            raise ApiError(400, "MAX_NOTEBOOK_SIZE_EXCEEDED", message)
        known = {} if form == "RAW" else {"language": language or _LANGUAGES.get(suffix)}
        notebook = form in ("SOURCE", "JUPYTER") or (form == "AUTO" and content.startswith(_NOTEBOOK))
        if form not in ("AUTO", "RAW", "SOURCE", "JUPYTER"):
            raise invalid(f"format {form} is not supported here; accepted: AUTO, RAW, SOURCE, JUPYTER")
        if form == "SOURCE" and known["language"] is None:
            raise invalid("The language of a notebook in source format must be given.")
        file = self._file(path)
        if not file.parent.is_dir():
            raise missing(f"The parent folder ({PurePosixPath(path).parent}) does not exist.")
        with self._store.lock:
            if file.is_dir() or (file.exists() and not overwrite):
                raise exists(f"Node with name {path} already exists. Please pass overwrite=true to update it.")
            part = file.with_name(f".{self._store.number()}.part")
            part.write_bytes(content)
            part.replace(file)
            own = {"object_type": "NOTEBOOK", **known} if notebook else {"object_type": "FILE"}
            before = self.status(path)
            kept = {key: before[key] for key in ("object_id", "created_at", "path")}
            if before["object_type"] != own["object_type"]:
                self._forget_permissions(before["object_id"])
            self._store.put("objects", path, kept | own)
        return self.status(path)

    def read(self, path: str) -> Path:
        """The file behind an object."""
        shown = self.status(path)
        file = self._file(shown["path"])
        if file.is_dir():
            raise invalid(f"{shown['path']} is a folder, which can't be exported here")
        return file

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        path = clean(path)
        try:
            self._file(path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise exists(f"The path {path} is a file already") from None

    def remove(self, path: str, *, recursive: bool) -> None:
        """Remove an object."""
        shown = self.status(path)
        path, file = shown["path"], self._file(shown["path"])
        if path in _SPECIAL:
            raise invalid(f"{path} is a folder of the workspace itself, which can't be deleted")
        if file.is_dir():
            if any(file.iterdir()) and not recursive:
                raise ApiError(400, "DIRECTORY_NOT_EMPTY", f"Folder ({path}) is not empty")
            shutil.rmtree(file)
        else:
            file.unlink()
        for known in self._store.all("objects"):
            if known["path"] == path or known["path"].startswith(f"{path}/"):
                self._store.delete("objects", known["path"])
                self._forget_permissions(known["object_id"])
                if known.get("object_type") == "REPO":
                    self._store.delete("repos", known["object_id"])

    def _forget_permissions(self, object_id: object) -> None:
        for kind in _PERMISSIONS.values():
            self._store.delete("permissions", f"{kind}/{object_id}")

    def adopt(self, path: str, document: Document) -> None:
        """Make the folder of a Git folder."""
        self._file(path).mkdir(parents=True)
        own = {"object_type": "REPO", "object_id": document["id"], "created_at": now(), "path": path}
        self._store.put("objects", path, own)
