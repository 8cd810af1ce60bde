"""Carries the model of one run from an environment to another, as a folder: each has a registry of its own.

The run in the other environment is one that every later step takes for its own. Its tags ``source.*`` say where it was
copied from, its tags ``origin.*`` where it was trained, however often it was copied; by the latter it is known again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.entry_point import Results
from ml_pipeline.errors import CheckFailedError, InputError
from ml_pipeline.names import ACCEPTED, CHALLENGER, CHAMPION, DEVELOPMENT, GIT_COMMIT, JOB_RUN_ID, PASSED, TEST
from ml_pipeline.registry import champion, models, run_copy, runs, tracking

if TYPE_CHECKING:
    from ml_pipeline.registry import ModelVersion, Run

Alias = Literal["champion", "challenger"]
FORMAT = "ml-pipeline model, version 1"
CHECKSUMS = "SHA256SUMS"
"""The last file of a folder, in the form that ``sha256sum --check`` reads; without it the folder is not complete."""
_MANIFEST = "manifest.json"
_WHOLE = "accepted: a folder as export-model wrote it"
_SOURCE, _ORIGIN = "source.", "origin."
_OF_THE_WORKSPACE = (JOB_RUN_ID, GIT_COMMIT)
"""Tags of a run that are kept as its source's: of the first, another workspace may have the same."""


def export_model(
    output: Path,
    *,
    experiment: str,
    model: str,
    environment: str,
    where: str,
    commit: str | None = None,
    alias: Alias | None = None,
    if_any: bool = False,
) -> Results:
    """Write a run, its model and its version's tags into a new folder, which appears once it is complete.

    The run is that of a commit which passed the CI, or else that of the version with the alias; if there is none,
    ``if_any`` writes nothing instead of failing. The names of environment and instance, and the address of its tracking
    server (``where``), go into the lineage.

    Raises:
        InputError: the folder is there and not empty, or no version has the alias.
        PipelineError: there is no such run, or more than one.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: is there already; accepted: a new or an empty folder")
    # To look for a run would make the experiment.
    if if_any and not tracking.has_experiment(experiment):
        return {"nothing to export": f"{environment} has no experiment {experiment}"}
    run = _of_commit(experiment, commit, if_any=if_any) if commit else _of_alias(model, alias, if_any=if_any)
    if run is None:
        what = f"run with git_commit {commit}, development passed" if commit else f"version with alias '{alias}'"
        return {"nothing to export": f"{environment} has no {what}"}
    version = models.version_of_run(run, model)
    source = {"experiment": experiment, "environment": environment, "tracking_uri": where}
    try:
        _write(output, run, source={"run_id": run.info.run_id, **source}, version=_as_data(version, alias=alias))
    except OSError as error:
        raise InputError(f"--output {output}: can't be written: {error.strerror or error}") from error
    of_version = f", {model} version {version.version}" if version else ""
    return {"exported": f"run {run.info.run_id}{of_version} of {environment} to {output}"}


def _write(output: Path, run: Run, *, source: Mapping[str, str], version: Mapping[str, Any] | None) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        manifest = {"format": FORMAT, "source": source, "run": run_copy.write(run, folder), "version": version}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        seal(folder)
        if output.exists():
            output.rmdir()
        folder.rename(output)


def _of_commit(experiment: str, commit: str, *, if_any: bool) -> Run | None:
    tags = {GIT_COMMIT: commit, DEVELOPMENT: PASSED}
    if if_any and not runs.search(experiment, f"attributes.status = 'FINISHED' and {runs.matching(**tags)}", most=1):
        return None
    return runs.the_run(experiment, finished=True, **tags)


def _of_alias(model: str, alias: Alias | None, *, if_any: bool) -> Run | None:
    version = models.version_by_alias(model, str(alias))
    if version is not None:
        return runs.run(str(version.run_id))
    if if_any:
        return None
    raise InputError(f"model {model} has no alias '{alias}'; accepted: one that a version has, or --if-any")


def _as_data(version: ModelVersion | None, *, alias: Alias | None) -> dict[str, Any] | None:
    if version is None:
        return None
    # How the alias moved in one registry is nothing to another, which notes its own moves.
    tags = {name: text for name, text in run_copy.portable(version.tags).items() if name != champion.MOVES}
    return {"model": version.name, "version": str(version.version), "alias": alias or "", "tags": tags}


def import_model(
    folder: Path,
    *,
    experiment: str,
    model: str,
    become: Alias | None = None,
    commit: str | None = None,
    run_by: str = "",
) -> Results:
    """Make the run of a folder of ``export_model`` in an experiment, unless it is there; register it to get an alias.

    A commit takes the place of the tag ``git_commit``. Who asks for it is kept in the trail.

    Raises:
        InputError: the folder was cut or changed, or is of another format.
        CheckFailedError: the model did not pass what the alias asks for.
    """
    manifest = _manifest(folder)
    version = manifest["version"]
    if become:
        _check(version, become)
    tags = _tags(manifest, commit)
    run, new = _run(manifest, folder, experiment, tags)
    # Only now: of two runs with it that are finished, the commit's would be ambiguous.
    if manifest["run"]["tags"].get(DEVELOPMENT) == PASSED:
        runs.hand_over_tag(experiment, run, DEVELOPMENT, PASSED, among=GIT_COMMIT)
    source = manifest["source"]
    named = f"run {source['run_id']} of {source['environment']}"
    lineage = f"{'copied of' if new else 'there already, the same as'} {named}"
    if run.info.run_id == tags[f"{_ORIGIN}run_id"]:
        lineage = "which was trained here"
    results = {"MLflow run": f"{run.info.run_id}, {lineage}"}
    if become:
        results |= _register(run, model, version, tags, become, run_by=run_by)
    return results


def _manifest(folder: Path) -> dict[str, Any]:
    verify(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        format_ = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _MANIFEST}: has no format; accepted: {FORMAT}") from error
    if format_ != FORMAT:
        raise InputError(f"{folder / _MANIFEST}: format '{format_}'; accepted: {FORMAT}")
    return dict(manifest)


def _check(version: Mapping[str, Any] | None, alias: Alias) -> None:
    if version and version["tags"].get(TEST) in ACCEPTED:
        return
    # A champion serves already where it comes from.
    if version and alias == version["alias"] == CHAMPION:
        return
    raise CheckFailedError(
        f"--as {alias}: the model did not pass validation where it comes from; "
        "accepted: a version with the tag test = passed or inconclusive"
        + (", or a champion" if alias == CHAMPION else "")
    )


def _tags(manifest: Mapping[str, Any], commit: str | None) -> dict[str, str]:
    """The tags of the run to be."""
    tags: dict[str, str] = dict(manifest["run"]["tags"])
    source = dict(manifest["source"]) | {name: tags[name] for name in _OF_THE_WORKSPACE if name in tags}
    origin = {name: text for name, text in tags.items() if name.startswith(_ORIGIN)}
    origin = origin or {f"{_ORIGIN}{name}": text for name, text in source.items()}
    kept = {name: text for name, text in tags.items() if not name.startswith(_SOURCE) and name != DEVELOPMENT}
    kept.pop(JOB_RUN_ID, None)
    if commit:
        kept[GIT_COMMIT] = commit
    return kept | origin | {f"{_SOURCE}{name}": text for name, text in source.items()}


def _run(manifest: Mapping[str, Any], folder: Path, experiment: str, tags: Mapping[str, str]) -> tuple[Run, bool]:
    """The run, and whether it is new."""
    origin, of_commit = tags[f"{_ORIGIN}run_id"], runs.matching(git_commit=tags.get(GIT_COMMIT, ""))
    finished = f"attributes.status = 'FINISHED' and {of_commit}"
    if itself := runs.search(experiment, f"attributes.run_id = {runs.quoted(origin)} and {finished}", most=1):
        return itself[0], False
    copies = runs.matching(**{f"{_ORIGIN}run_id": origin})
    if copied := runs.search(experiment, f"{copies} and {finished}", most=1):
        return copied[0], False
    for unfinished in runs.search(experiment, f"{copies} and {of_commit}", most=100):
        # An import was interrupted; where it stopped is unknown.
        run_copy.delete(unfinished)
    return run_copy.read(manifest["run"], folder, experiment=experiment, tags=tags), True


def _register(
    run: Run, model: str, version: Mapping[str, Any], tags: Mapping[str, str], alias: Alias, *, run_by: str
) -> Results:
    lineage = models.registry_tag(_SOURCE)
    of_version = {name: text for name, text in version["tags"].items() if not name.startswith(lineage)}
    if GIT_COMMIT in of_version:
        of_version[GIT_COMMIT] = tags[GIT_COMMIT]
    # A version that is there has a source of its own, or none; what was found of it since is news.
    if models.version_of_run(run, model) is None:
        of_version |= {name: text for name, text in tags.items() if name.startswith(_SOURCE)}
        of_version |= {f"{_SOURCE}model": version["model"], f"{_SOURCE}version": version["version"]}
    registered = models.register(run, model, tags=of_version)
    before = ""
    if alias == CHAMPION:
        before = champion.make_champion(registered, move="imported", run_by=run_by)
    else:
        models.move_alias(CHALLENGER, registered)
    return {model: f"version {registered.version} is the {alias}{before}"}


def seal(folder: Path) -> None:
    """Write the checksums of all files of a folder."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_digests(folder).items())]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path) -> None:
    """Read a sealed folder through, so that nothing is made of one that was cut or changed.

    Raises:
        InputError: a file is missing, is other than it was, or was added.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        sealed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        found = _digests(folder)
    except OSError as error:
        raise InputError(f"{folder}: is not a whole exported model: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{folder / CHECKSUMS}: holds no checksums; {_WHOLE}") from error
    wrong = sorted(name for name in {*sealed, *found} if sealed.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        what = "is missing" if name not in found else "was added" if name not in sealed else "was changed"
        more = f", and {len(wrong) - 1} other files are not as they were" if len(wrong) > 1 else ""
        raise InputError(f"{folder / name}: {what}{more}; {_WHOLE}")


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise InputError(f"{file}: is a link, which may lead out of the folder; accepted: files")
        if file.is_file() and name != CHECKSUMS:
            with file.open("rb") as content:
                digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests
