"""Moves the alias ``champion``, and remembers how it moved.

The registered model's tag ``champion_history`` is a stack of versions, the champion last: promotion pushes, rollback
pops. Each version's tag ``champion_moves`` holds when, why and by whom it was moved.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_pipeline.entry_point import Results
from ml_pipeline.errors import InputError
from ml_pipeline.names import CHALLENGER, CHAMPION
from ml_pipeline.registry import models
from ml_pipeline.registry.tracking import client

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

HISTORY = "champion_history"
"""Tag of a model: the versions that were champion, as JSON, the present one last."""
MOVES = "champion_moves"
"""Tag of a version: when it became champion or ceased to be, latest last, as JSON."""


def make_champion(version: ModelVersion, *, move: str, run_by: str = "", job_run_id: str = "") -> str:
    """Let the alias ``champion`` point to a version, which ceases to be the challenger, and leave the trail.

    The trail holds how it moves, who asks for it and in which job run.

    Returns:
        A text about the version before, if there was another.
    """
    model = version.name
    champion = models.version_by_alias(model, CHAMPION)
    by = {"by": run_by, "job_run_id": job_run_id}
    replaced = champion if champion and champion.version != version.version else None
    if champion is None or replaced:
        models.move_alias(CHAMPION, version)
        _note(version, move, {"version": replaced.version if replaced else "", **by})
        if replaced:
            _note(replaced, "replaced", {"version": version.version, **by})
    # Written after the alias, from the alias: whoever is interrupted between the two can do it again.
    _keep(model, _history(model, version))
    challenger = models.version_by_alias(model, CHALLENGER)
    if challenger and challenger.version == version.version:
        client().delete_registered_model_alias(model, CHALLENGER)
    return f", version {replaced.version} before" if replaced else ""


def rollback(*, model: str, run_by: str = "") -> Results:
    """Restore the version that the champion replaced; of those that were deleted since, the one before.

    Raises:
        InputError: there is no champion, or it replaced none.
    """
    champion = models.champion(model)
    *before, _ = _history(model, champion)
    while before and not models.has_version(model, before[-1]):
        before.pop()
    if not before:
        raise InputError(f"model {model} version {champion.version} replaced no other champion; nothing to go back to")
    version = models.version(model, before[-1])
    # Written before the alias: whoever is interrupted between the two can roll back again.
    _keep(model, before)
    models.move_alias(CHAMPION, version)
    _note(champion, "rolled back", {"version": version.version, "by": run_by})
    _note(version, "restored", {"version": champion.version, "by": run_by})
    return {model: f"version {version.version} is the champion again, version {champion.version} is not"}


def _history(model: str, champion: ModelVersion) -> list[str]:
    """The versions that were champion, the given one last, however the alias came to point to it."""
    history = [str(number) for number in json.loads(client().get_registered_model(model).tags.get(HISTORY, "[]"))]
    return history if history[-1:] == [str(champion.version)] else [*history, str(champion.version)]


def _keep(model: str, history: list[str]) -> None:
    client().set_registered_model_tag(model, HISTORY, _fitting(history))


def _note(version: ModelVersion, move: str, details: dict[str, str]) -> None:
    moves = json.loads(version.tags.get(MOVES, "[]"))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    moves.append({"at": now, "move": move, **{name: str(value) for name, value in details.items() if value}})
    models.set_version_tags(version, {MOVES: _fitting(moves)})


def _fitting(entries: Sequence[Any]) -> str:
    """As JSON, without the oldest entries where a registry would not take so long a tag."""
    while len(text := json.dumps(entries)) > models.LONGEST_TAG:
        entries = entries[1:]
    return text
