"""Models in Unity Catalog, as MLflow's client sees them with the registry ``databricks-uc``, and Databricks' SDK.

MLflow's server keeps them under their full names. What Unity Catalog does otherwise is answered here
(docs.databricks.com, "Manage model lifecycle in Unity Catalog"; mlflow, databricks_uc_registry_service.proto).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from flask import Blueprint, request

from infra.rehearsal import artifacts
from infra.rehearsal.api import ApiError, Document, ask, body, invalid, missing, number, text
from infra.rehearsal.catalog import METASTORE, USED, Catalog

_MLFLOW = "/api/2.0/mlflow/unity-catalog/"
_SDK = "/api/2.1/unity-catalog/models/<name>/"
_OF_MODEL = ("name", "creation_timestamp", "last_updated_timestamp", "description", "tags", "aliases")
_OF_VERSION = (*_OF_MODEL, "version", "source", "run_id", "status", "model_id")
_NEW = ("run_id", "description", "tags", "model_id")
_NOT_SEARCHED = ("tags", "aliases")
"""What Unity Catalog leaves out of a search (mlflow, ModelVersionSearch and RegisteredModelSearch)."""
_FILTER = re.compile(r"""\s*(name|run_id)\s*=\s*('[^']*'|"[^"]*")\s*""")
_MOST_TAGS, _LONGEST_KEY, _LONGEST_VALUE = 50, 250, 1000
_NOT_IN_KEYS = ".,-=/:"
"""What a tag takes (docs.databricks.com, "Apply tags to Unity Catalog securable objects"); MLflow has shorter keys."""


class Registry:
    """The registered models and their versions; each public method answers the request that calls it.

    Args:
        catalog: Where the models are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._store = catalog.store

    def need(self, name: str, *privileges: str) -> None:
        """Reject who asks, unless they own or manage the model, or hold one of the privileges on it."""
        self._catalog.privileges.need("models", name, *privileges)

    def _seen(self, name: str) -> bool:
        return self._catalog.privileges.may("models", name, *USED["models"])

    def _ask(self, method: str, path: str, content: Mapping[str, object]) -> Document:
        return ask(self._catalog.mlflow, method, path, content)

    def _model(self, name: str) -> Document:
        found = self._ask("GET", "registered-models/get", {"name": name.lower()})["registered_model"]
        return {key: found[key] for key in _OF_MODEL if key in found}

    def version(self, name: str, version: str) -> Document:
        """A version, as MLflow's client gets it."""
        asked = {"name": name.lower(), "version": version}
        return self._shown(self._ask("GET", "model-versions/get", asked)["model_version"])

    def by_alias(self, name: str, alias: str) -> Document:
        """The version that an alias points to, as MLflow's client gets it."""
        for one in self._model(name).get("aliases", []):
            if one["alias"] == alias:
                return self.version(name, one["version"])
        raise missing(f"Registered model alias '{alias}' of {name} does not exist.")

    def _shown(self, found: Document) -> Document:
        shown = {key: found[key] for key in _OF_VERSION if key in found}
        shown["aliases"] = [{"alias": alias, "version": found["version"]} for alias in found.get("aliases", [])]
        return shown | (self._store.get("versions", f"{found['name']}/{found['version']}") or {})

    def create_model(self) -> Document:
        """Register a model."""
        given = body()
        catalog_name, schema_name, name = _three_levels(text(given, "name")).split(".")
        _check_tags({}, given.get("tags", []))
        described = {"catalog_name": catalog_name, "schema_name": schema_name, "name": name}
        told = {"comment": given.get("description", ""), "tags": given.get("tags", [])}
        made = self._catalog.create("models", described | told)
        return {"registered_model": self._model(made["full_name"])}

    def get_model(self) -> Document:
        """A model."""
        return {"registered_model": self._model(text(request.args, "name"))}

    def search_models(self) -> Document:
        """A page of the models."""
        found = self._ask("GET", "registered-models/search", _paged(request.args))
        searched = [key for key in _OF_MODEL if key not in _NOT_SEARCHED]
        models = [
            {key: one[key] for key in searched if key in one}
            for one in found.get("registered_models", [])
            if self._seen(one["name"])
        ]
        return {**found, "registered_models": models}

    def update_model(self) -> Document:
        """Rename or describe a model."""
        given = body()
        name = text(given, "name")
        if "new_name" in given:
            new = _three_levels(text(given, "new_name")).rpartition(".")[2]
            name = self._catalog.update("models", name, {"new_name": new})["full_name"]
        if "description" in given:
            described = {"name": name.lower(), "description": text(given, "description")}
            self._ask("PATCH", "registered-models/update", described)
        return {"registered_model": self._model(name)}

    def delete_model(self) -> Document:
        """Remove a model with its versions."""
        return self._catalog.delete("models", text(body(), "name"))

    def create_version(self) -> Document:
        """Make a version, whose files the client writes next."""
        given = body()
        name, source = text(given, "name").lower(), text(given, "source")
        _check_tags({}, given.get("tags", []))
        if "model_id" in given:
            self._ask("GET", f"logged-models/{artifacts.plain(text(given, 'model_id'))}", {})
        # The client has read the files there, which may be on its own machine, and uploads them.
        wanted = {"name": name, "source": artifacts.ROOT, **{key: given[key] for key in _NEW if key in given}}
        version = self._ask("POST", "model-versions/create", wanted)["model_version"]["version"]
        own = {"source": source, **{key: given[key] for key in ("model_id",) if key in given}}
        self._store.put("versions", f"{name}/{version}", own | {"status": "PENDING_REGISTRATION"})
        self._catalog.files.model_folder(name, version).mkdir(parents=True, exist_ok=True)
        return {"model_version": self.version(name, version)}

    def finalize_version(self) -> Document:
        """Note that the files of a version are written."""
        name, version = _named(body())
        self._store.change("versions", f"{name}/{version}", lambda kept: kept.update(status="READY"))
        return {"model_version": self.version(name, version)}

    def get_version(self) -> Document:
        """A version."""
        return {"model_version": self.version(*_named(request.args))}

    def get_version_by_alias(self) -> Document:
        """The version that an alias points to."""
        return {"model_version": self.by_alias(text(request.args, "name"), text(request.args, "alias"))}

    def search_versions(self, asked: Mapping[str, object] | None = None) -> Document:
        """A page of the versions that a filter names."""
        asked = asked or request.args
        wanted = str(asked.get("filter") or "")
        if wanted and not _FILTER.fullmatch(wanted):
            raise invalid(f"Unsupported filter query: {wanted}. Accepted: name = '...' or run_id = '...'")
        found = self._ask("GET", "model-versions/search", _paged(asked))
        shown = [self._shown(one) for one in found.get("model_versions", []) if self._seen(one["name"])]
        versions = [{key: one[key] for key in one if key not in _NOT_SEARCHED} for one in shown]
        return {**found, "model_versions": versions}

    def update_version(self) -> Document:
        """Describe a version."""
        given = body()
        name, version = _named(given)
        self._ask("PATCH", "model-versions/update", given | {"name": name})
        return {"model_version": self.version(name, version)}

    def delete_version(self) -> Document:
        """Remove a version and its files."""
        name, version = _named(body())
        self._ask("DELETE", "model-versions/delete", {"name": name, "version": version})
        self._store.delete("versions", f"{name}/{version}")
        self._catalog.files.drop_model(name, version)
        return {}

    def set_model_tag(self) -> Document:
        """Set a tag of a model."""
        given = body()
        _check_tags(self._model(text(given, "name")), [given])
        return self._ask("POST", "registered-models/set-tag", _lower(given))

    def set_version_tag(self) -> Document:
        """Set a tag of a version."""
        given = body()
        _check_tags(self.version(*_named(given)), [given])
        return self._ask("POST", "model-versions/set-tag", _lower(given))

    def emit_lineage(self) -> Document:
        """Take note that a version was read: Databricks draws it, and nothing asks for it."""
        self.version(*_named(body()))
        return {}

    def pass_on(self) -> Document:
        """Let MLflow's server answer, which does as Unity Catalog does."""
        return self._ask(request.method, request.path.removeprefix(_MLFLOW), _lower(body()))


_READ, _TAG, _MAKE = ("EXECUTE",), ("APPLY_TAG",), ("CREATE_MODEL_VERSION",)
_ENDPOINTS: Mapping[str, tuple[Callable[[Registry], Document], tuple[str, ...] | None]] = {
    "POST registered-models/create": (Registry.create_model, None),
    "GET registered-models/get": (Registry.get_model, USED["models"]),
    "GET registered-models/search": (Registry.search_models, None),
    "PATCH registered-models/update": (Registry.update_model, ()),
    "DELETE registered-models/delete": (Registry.delete_model, ()),
    "POST registered-models/set-tag": (Registry.set_model_tag, _TAG),
    "DELETE registered-models/delete-tag": (Registry.pass_on, _TAG),
    "GET registered-models/alias": (Registry.get_version_by_alias, _READ),
    "POST registered-models/alias": (Registry.pass_on, ()),
    "DELETE registered-models/alias": (Registry.pass_on, ()),
    "POST model-versions/create": (Registry.create_version, _MAKE),
    "POST model-versions/finalize": (Registry.finalize_version, _MAKE),
    "GET model-versions/get": (Registry.get_version, _READ),
    "GET model-versions/search": (Registry.search_versions, None),
    "PATCH model-versions/update": (Registry.update_version, ()),
    "DELETE model-versions/delete": (Registry.delete_version, ()),
    "POST model-versions/set-tag": (Registry.set_version_tag, _TAG),
    "DELETE model-versions/delete-tag": (Registry.pass_on, _TAG),
    "POST model-versions/emit-lineage": (Registry.emit_lineage, _READ),
}
"""What answers, and privileges on the model: whoever asks owns or manages it, or needs one of them.

``None``: the answer has only what they may see, or is checked where it is made.
"""


def _named(given: Mapping[str, object]) -> tuple[str, str]:
    name, version = text(given, "name").lower(), text(given, "version")
    if not re.fullmatch("[1-9][0-9]{0,17}", version):
        raise invalid(f"version: '{version:.40}' is not the number of a version")
    return name, version


def _lower(given: Document) -> Document:
    return given | {"name": text(given, "name").lower()}


def _paged(asked: Mapping[str, object]) -> Mapping[str, object]:
    if number(asked.get("max_results", 1), "max_results") < 1:
        raise invalid(f"max_results: '{asked.get('max_results')}' is not a positive number")
    return asked


def _three_levels(name: str) -> str:
    if name.count(".") != 2:
        raise invalid(f"Registered model name '{name}' must specify all three levels: catalog.schema.model")
    return name


def _check_tags(tagged: Document, added: object) -> None:
    held = {tag["key"] for tag in tagged.get("tags", [])}
    if not isinstance(added, list) or not all(isinstance(tag, dict) for tag in added):
        raise invalid("tags: accepted: a list of objects with key and value")
    for tag in added:
        key, value = text(tag, "key"), tag.get("value", "")
        if len(key) > _LONGEST_KEY or any(character in key for character in _NOT_IN_KEYS) or key != key.strip():
            raise invalid(f"Invalid tag key '{key:.300}'; at most {_LONGEST_KEY} characters, none of {_NOT_IN_KEYS}")
        if not isinstance(value, str) or len(value) > _LONGEST_VALUE:
            raise invalid(f"The value of tag '{key}' is not a text of at most {_LONGEST_VALUE} characters")
        held.add(key)
    if len(held) > _MOST_TAGS:
        raise invalid(f"{len(held)} tags; at most {_MOST_TAGS} on one object")


def blueprint(catalog: Catalog) -> Blueprint:
    """The endpoints."""
    routes = Blueprint("model-registry", __name__)
    registry = Registry(catalog)
    for endpoint, (answer, privileges) in _ENDPOINTS.items():
        method, _, path = endpoint.partition(" ")
        view = _view(registry, answer, privileges)
        routes.add_url_rule(f"{_MLFLOW}{path}", endpoint, view, methods=[method])

    @routes.get(f"{_MLFLOW}registered-models:is-databricks-sdk-models-artifact-repository-enabled")
    def by_files_api() -> Document:
        # Of the ways that Databricks has to a version's files, the one that needs no cloud's storage.
        return {"is_databricks_sdk_models_artifact_repository_enabled": True}

    @routes.get(f"{_SDK}versions")
    def list_versions(name: str) -> Document:
        catalog.get("models", name)
        registry.need(name, *_READ)
        paging = {key: request.args[key] for key in ("max_results", "page_token") if key in request.args}
        name = name.lower()
        found = registry.search_versions({"filter": f"name='{name}'", "max_results": "100", **paging})
        versions = [_info(registry.version(name, one["version"])) for one in found["model_versions"]]
        return {**found, "model_versions": versions}

    @routes.get(f"{_SDK}versions/<int:version>")
    def get_version(name: str, version: int) -> Document:
        registry.need(name, *_READ)
        return _info(registry.version(name, str(version)))

    @routes.get(f"{_SDK}aliases/<alias>")
    def get_by_alias(name: str, alias: str) -> Document:
        registry.need(name, *_READ)
        return _info(registry.by_alias(name, alias))

    return routes


def _view(
    registry: Registry, answer: Callable[[Registry], Document], privileges: tuple[str, ...] | None
) -> Callable[[], Document]:
    def view() -> Document:
        try:
            if privileges is not None:
                registry.need(text(request.args if request.method == "GET" else body(), "name"), *privileges)
            return answer(registry)
        except ApiError as error:
            # MLflow's client retries an answer whose error code it doesn't know.
            for known in ("DOES_NOT_EXIST", "ALREADY_EXISTS"):
                if error.code.endswith(known):
                    raise ApiError(error.status, f"RESOURCE_{known}", error.message) from None
            raise

    return view


def _info(version: Document) -> Document:
    """A version, as Databricks' SDK gets it."""
    catalog_name, schema_name, model_name = version["name"].split(".")
    of = {"catalog_name": catalog_name, "schema_name": schema_name, "model_name": model_name}
    times = {"created_at": version["creation_timestamp"], "updated_at": version["last_updated_timestamp"]}
    same: Document = {key: version[key] for key in ("source", "run_id", "status") if key in version}
    aliases = [{"alias_name": one["alias"], "version_num": int(one["version"])} for one in version["aliases"]]
    own = {"version": int(version["version"]), "comment": version.get("description", ""), "aliases": aliases}
    return {**of, **times, **same, **own, "metastore_id": METASTORE}
