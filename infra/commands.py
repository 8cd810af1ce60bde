"""Every command of ``python -m infra``, and which function it calls.

The parser is the standard library's: a workflow's job whose token may write to the repository installs nothing. Each
command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ml_pipeline.cli.guard import guarded
from ml_pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    from infra.github.api import Repository

Given = argparse.Namespace


class _Parser(argparse.ArgumentParser):
    """A parser whose errors go through the guard, like every other."""

    problem: type[PipelineError] = InputError

    def error(self, message: str) -> NoReturn:
        raise self.problem(f"{self.prog}: {message} (--help lists what it accepts)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""

    def run() -> int:
        given = parser().parse_args(arguments)
        done = given.run(given)
        if isinstance(done, str):
            print(done)
        return done if isinstance(done, int) else 0

    return guarded(run, faults=(OSError,))


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    root = _Parser(prog="python -m infra", description="Deploys the jobs, and reviews, rehearses and releases them.")
    commands = _group(root)
    _command(commands, "synth", _synth, "Write the Terraform stack of every environment; cdktf calls it.")
    _declare_review(commands)
    cdktf = _command(commands, "cdktf", _cdktf, "Let cdktf deploy, destroy or compare a stack; the errors come last.")
    cdktf.add_argument("verb", choices=("deploy", "destroy", "diff"))
    cdktf.add_argument("stack", metavar="STACK")
    cdktf.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION", help="an option of cdktf's")
    unlock = _command(commands, "unlock", _unlock, "Remove the lock that a killed deployment of this machine left.")
    unlock.add_argument("stack", metavar="STACK")
    _command(commands, "rehearse", _rehearse, "Deploy to a rehearsal workspace, run every job, destroy.")
    serve = _command(commands, "rehearsal", _serve, "Serve a rehearsal workspace on 127.0.0.1 until interrupted.")
    serve.add_argument("--port", type=int, default=8765, help="port; 0 for any free one (%(default)s)")
    serve.add_argument("--state", type=Path, default=Path(".rehearsal"), help="folder for everything (%(default)s)")
    _command(
        commands, "settings", _settings, "Write the reference of the settings and the JSON Schemas of their files."
    )
    doctor = _command(commands, "doctor", _doctor, "Check the repository and the workspaces; print what closes a gap.")
    doctor.add_argument("--repository", default="", metavar="OWNER/NAME", help="default: GITHUB_REPOSITORY, or origin")
    doctor.add_argument("--environment", default="", metavar="NAME", help="check this workspace alone")
    doctor.add_argument("--output", type=Path, metavar="FILE", help="write the commands of all gaps as a script")
    _declare_wheel(commands)
    _declare_github(commands)
    return root


def _group(above: argparse.ArgumentParser) -> Any:
    return above.add_subparsers(dest="command", required=True, metavar="COMMAND")


def _command(group: Any, name: str, run: Callable[[Given], int | str | None], text: str) -> _Parser:
    command: _Parser = group.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _declare_review(commands: Any) -> None:
    plan = _command(commands, "plan", _review, "Write what a deployment would change: plan.md and changes.json.")
    apply = _command(commands, "apply", _review, "Apply the reviewed plan; reject any other.")
    drift = _command(commands, "drift", _review, "Like plan; exit code 2 if a deployment would change something.")
    for command in (plan, apply, drift):
        command.add_argument("stack", metavar="STACK")
        # Exit code 2 of drift means a change.
        command.problem = PipelineError
    for command in (plan, drift):
        command.add_argument("--output", type=Path, metavar="FOLDER", help="default: plans/STACK in cdktf's folder")
    apply.add_argument(
        "--reviewed", type=Path, required=True, metavar="FILE", help="the changes.json that was reviewed"
    )


def _declare_wheel(commands: Any) -> None:
    wheel = _group(commands.add_parser("wheel", help="Seal a wheel, or take one that was built elsewhere."))
    seal = _command(wheel, "seal", _wheel, "Write the SHA-256 of the folder's wheel beside it.")
    seal.add_argument("folder", type=Path, metavar="FOLDER")
    take = _command(wheel, "take", _wheel, "Put a wheel that was built elsewhere where a build would have put it.")
    take.add_argument("wheel", type=Path, metavar="FILE|FOLDER")
    take.add_argument("--into", type=Path, default=Path("dist"), metavar="FOLDER")


def _declare_github(commands: Any) -> None:
    release = _group(commands.add_parser("release", help="Check, publish and mark releases on GitHub."))
    texts = {
        "check": "Reject a version that has no notes, or that is released with another commit.",
        "source": "Find the release branch's commit that a commit of main brings, and where its wheel is.",
        "publish": "Make tag and GitHub release, with the changelog's notes and the wheel.",
        "mark": "Move the tag deployed/ENVIRONMENT.",
        "merged": "Reject a merge that holds other files than the head whose model it would get.",
        "newest": "Print whether a commit is a branch's last one.",
    }
    of_commit = {name: _command(release, name, _release, text) for name, text in texts.items()}
    for command in of_commit.values():
        command.add_argument("--commit", required=True, metavar="SHA")
    of_commit["publish"].add_argument("--wheel", required=True, type=Path, metavar="FILE|FOLDER")
    of_commit["mark"].add_argument("environment", choices=("staging", "prod"))
    of_commit["merged"].add_argument("--head", required=True, metavar="SHA")
    of_commit["newest"].add_argument("branch", metavar="BRANCH")
    of_commit["check"].add_argument("--branch", default="", metavar="BRANCH", help="reject a branch of another version")
    download = _command(release, "download", _release, "Take this version's wheel from its release; check its SHA-256.")
    download.add_argument("--into", required=True, type=Path, metavar="FOLDER")
    _command(release, "deployed", _release, "List the environments that have a tag deployed/ENVIRONMENT.")

    instances = _group(commands.add_parser("instances", help="Find the instances of pull requests."))
    _command(instances, "left", _instances, "List the instances that closed pull requests may have left.")
    found = _command(instances, "found", _instances, "List those that still have something in the workspace.")
    found.add_argument("environment", metavar="ENVIRONMENT")
    found.add_argument("--among", required=True, type=_names, metavar="JSON", help="a list of instances")
    check = _command(instances, "check", _instances, "Reject a pull request that is closed.")
    check.add_argument("--pull-request", type=int, required=True, metavar="N")

    comment = _command(commands, "comment", _comment, "Keep one comment on a pull request up to date.")
    comment.add_argument("--pull-request", type=int, required=True, metavar="N")
    comment.add_argument("--commit", required=True, metavar="SHA", help="the commit that the parts are about")
    comment.add_argument("parts", nargs="+", type=Path, metavar="PART", help="a Markdown file")

    report = _command(commands, "report-drift", _report_drift, "Open, change or close the issue about drift.")
    report.add_argument("--environment", required=True, metavar="NAME")
    report.add_argument("--plan", required=True, type=Path, metavar="FOLDER", help="the folder that 'make drift' wrote")


def _synth(_given: Given) -> None:
    from infra import cdktf_cli, synthesis

    with cdktf_cli.repeated_at_the_end():
        synthesis.run()


def _review(given: Given) -> int:
    from infra.review import apply

    try:
        if given.command == "apply":
            return apply.apply_plan(given.stack, given.reviewed)
        changes = apply.write_plan(given.stack, given.output)
    except InputError as error:
        raise PipelineError(str(error)) from error
    return 2 if given.command == "drift" and changes.items else 0


def _cdktf(given: Given) -> int:
    from infra import cdktf_cli

    return cdktf_cli.run(given.verb, given.stack, given.options)


def _unlock(given: Given) -> str:
    from infra.review import lock

    return lock.release(given.stack)


def _rehearse(_given: Given) -> int:
    from infra import rehearse

    return rehearse.run()


def _serve(given: Given) -> None:
    from infra.rehearsal import server

    server.run(given.state.resolve(), port=given.port)


def _settings(_given: Given) -> None:
    from infra import settings_reference

    settings_reference.write()


def _doctor(given: Given) -> str:
    from infra.doctor import report

    return report.run(name=given.repository, only=given.environment, output=given.output)


def _wheel(given: Given) -> None:
    from infra import distribution

    if given.command == "seal":
        distribution.seal(distribution.find(given.folder))
    else:
        distribution.take(given.wheel, into=given.into)


def _repository() -> Repository:
    from infra.github import api

    return api.Repository.of_workflow()


def _release(given: Given) -> str:
    from infra import distribution
    from infra.github import release

    repository = _repository()
    match given.command:
        case "check":
            text = release.check(repository, commit=given.commit, branch=given.branch)
        case "source":
            found = release.source(repository, commit=given.commit)
            text = "\n".join(f"{name}={value}" for name, value in found.items())
        case "publish":
            text = release.publish(repository, commit=given.commit, wheel=distribution.find(given.wheel))
        case "download":
            text = str(release.download(repository, into=given.into))
        case "mark":
            text = release.mark(repository, environment=given.environment, commit=given.commit)
        case "merged":
            text = release.merged(repository, head=given.head, commit=given.commit)
        case "newest":
            text = f"newest={json.dumps(release.newest(repository, branch=given.branch, commit=given.commit))}"
        case _:
            text = f"environments={json.dumps(release.deployed(repository))}"
    return text


def _names(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError
    return names


def _instances(given: Given) -> str:
    if given.command == "found":
        from infra.review import instances as deployed

        return f"instances={json.dumps(deployed.found(given.environment, given.among))}"
    from infra.github import instances

    if given.command == "check":
        return instances.check(_repository(), pull_request=given.pull_request)
    return f"instances={json.dumps(instances.left(_repository()))}"


def _comment(given: Given) -> str:
    from infra.github import api, comment

    repository = _repository()
    body = comment.assemble(given.parts, commit=given.commit, run=api.run_address())
    return comment.post(repository, pull_request=given.pull_request, body=body)


def _report_drift(given: Given) -> str:
    from infra.review import drift

    return drift.report(_repository(), environment=given.environment, plan=given.plan)
