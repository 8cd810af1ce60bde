"""What the documents say is so: what they name exists, what exists is named, and their commands run in tests."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from infra import commands as commands_of_infra
from ml_pipeline import jobs
from ml_pipeline.cli.main import cli
from ml_pipeline.settings import files

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / ".github" / "CONTRIBUTING.md")
]
WORKFLOWS = Path(".github/workflows")
ACCOUNT, BY_HAND = "# needs an account", "# by hand: minutes to hours"
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
# GitHub shows a workflow's badge at an address relative to the repository's page, where no file is.
NO_FILES = ("http://", "https://", "../../actions/")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Where a command runs."""

    by: str
    """A test, as ``FILE::NAME``, or a file that the CI runs."""
    says: str
    """What that test, a function or fixture that it uses, or that file says of the command."""
    recipe: str = ""
    """Of a make target, what it does: ``make --dry-run`` says so."""


_FLOW = Ran(
    by="tests/ml_pipeline/cli/test_cli.py::test_the_whole_flow_runs_on_a_persons_own_rows", says='start("run", '
)
_LAUNCH = Ran(
    by="tests/ml_pipeline/workspace/test_launch.py::test_a_run_is_followed_to_its_success",
    says='project.launch("training", ',
)
_TUTORIAL = Ran(
    by="tests/deployment/test_tutorial.py::test_the_tutorial_leads_from_a_csv_file_to_a_scored_batch", says="in parts()"
)
_DEPLOYMENT = "tests/deployment/test_deployment.py::test_deploy_diff_and_destroy_leave_nothing"
RUNS = {
    "make setup": _TUTORIAL,
    "make deploy ENV=churn-rehearsal": _TUTORIAL,
    "make destroy ENV=churn-rehearsal": _TUTORIAL,
    ".venv/bin/python -c": _TUTORIAL,
    ".venv/bin/ml-pipeline launch": _TUTORIAL,
    "make run": Ran(by=_FLOW.by, says=_FLOW.says, recipe=".venv/bin/ml-pipeline run"),
    "make report": Ran(
        by="tests/ml_pipeline/cli/test_cli.py::test_the_report_is_written_where_it_is_asked_for",
        says='call("report", ',
        recipe=".venv/bin/ml-pipeline report",
    ),
    "make ui": Ran(
        by="tests/ml_pipeline/cli/test_ui.py::test_ui_serves_mlflow_on_this_machine_and_ends_when_interrupted",
        says='"ml-pipeline")), "ui", ',
        recipe=".venv/bin/ml-pipeline ui",
    ),
    "make check": Ran(by=".ci/run", says="make test", recipe=".venv/bin/ruff check"),
    # A part of make test-all.
    "make test": Ran(by=".ci/run", says="make test-all", recipe='-m "not slow"'),
    "make test-all": Ran(by=".ci/run", says="make test-all", recipe="--budget all"),
    "make test-fork": Ran(by=".ci/run", says="make test-fork", recipe=".venv/bin/pytest tests/fork"),
    "make test-airflow": Ran(
        by="tests/airflow/test_run.py::test_the_dag_runs_the_deployed_job",
        says="run(",
        recipe=".venv/bin/pytest tests/airflow",
    ),
    "make docs": Ran(by=".ci/run", says="make docs", recipe="docs/site/build.py site"),
    "make pre-commit": Ran(by=".ci/run", says="make pre-commit", recipe=".venv/bin/pre-commit run"),
    "make rehearse": Ran(
        by="tests/deployment/test_rehearse.py::test_the_rehearsal_runs_every_job_and_leaves_nothing",
        says='"rehearse"]',
        recipe="-m infra rehearse",
    ),
    "make deploy ENV=rehearsal": Ran(
        by="tests/deployment/test_deployment.py::test_what_the_state_lost_or_holds_half_made_is_kept",
        says='deployment.made("rehearsal")',
        recipe="cdktf deploy rehearsal",
    ),
    "make destroy ENV=rehearsal": Ran(by=_DEPLOYMENT, says='"destroy", "rehearsal"', recipe="cdktf destroy rehearsal"),
    ".venv/bin/ml-pipeline run": _FLOW,
    ".venv/bin/ml-pipeline init": Ran(
        by="tests/ml_pipeline/cli/test_init.py::test_a_pipeline_from_a_csv_file_runs_at_once",
        says='commands.call("init", ',
    ),
    ".venv/bin/ml-pipeline check": Ran(
        by="tests/ml_pipeline/cli/test_check.py::test_a_good_file_gets_one_line", says='call("check", '
    ),
    ".venv/bin/ml-pipeline launch datasets --environment rehearsal": _LAUNCH,
    ".venv/bin/python notebooks/1_create_datasets.py": Ran(
        by="tests/ml_pipeline/test_notebooks.py::test_the_notebooks_run_one_after_the_other", says="runpy.run_path("
    ),
    ".venv/bin/python -m infra rehearsal --port 8765 --state .rehearsal": Ran(
        by="tests/rehearsal/test_access.py::test_the_token_is_kept_and_never_said", says='program("--port", '
    ),
}
"""Commands, or what they begin with, that tests run."""
HERE = {"make synth", ".venv/bin/ml-pipeline jobs", ".venv/bin/ml-pipeline jobs training"}
"""Commands that run in a test below: they are cheap, and change nothing beside the project."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a document."""

    line: str
    mark: str = ""
    """``ACCOUNT`` or ``BY_HAND``, where its block says so."""

    @property
    def words(self) -> list[str]:
        """Program and arguments, without variables before them."""
        words = shlex.split(self.line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        return words


def commands(text: str) -> Iterator[Command]:
    """The commands of a document's blocks, each in one line."""
    for indent, block in re.findall(r"^( *)```bash\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL):
        mark = next((mark for mark in (ACCOUNT, BY_HAND) if f"{mark}\n" in block), "")
        begun = ""
        for line in block.splitlines():
            begun += line.removeprefix(indent)
            if begun.lstrip().startswith("#"):
                begun = ""
            try:
                shlex.split(begun, comments=True)
            except ValueError:
                begun += "\n"
                continue
            command = re.sub(r"\s+# .*$", "", begun).strip()
            begun = ""
            if command:
                yield Command(line=command, mark=mark)


def runs_as(command: Command) -> str | None:
    """The key of ``RUNS`` under which a command runs, the longest."""
    words = command.words
    found = [key for key in RUNS if words[: len(key.split())] == key.split()]
    return max(found, key=len, default=None)


def problems_of(command: Command) -> list[str]:
    """What of a command does not exist, or else that it runs nowhere."""
    words = command.words
    if not words or words[0] == "export":
        return []
    missing = list(missing_of(words, foreign=command.mark == ACCOUNT))
    if missing or command.mark or command.line in HERE or runs_as(command):
        return missing
    return [f"{command.line}: runs in no test, and does not say '{ACCOUNT}'"]


def missing_of(words: list[str], *, foreign: bool) -> Iterator[str]:
    """What of a command does not exist; programs of others may be allowed."""
    program, *arguments = words
    if Path(program).name == "python" and arguments[0] == "-c":
        try:
            compile(arguments[1], "<document>", "exec")
        except SyntaxError as error:
            yield f"{program} -c: {error}"
    elif program == "make":
        wanted = [word for word in arguments if "=" not in word and not word.startswith("-")]
        yield from (f"make {target}: there is no such target" for target in wanted if target not in TARGETS)
    elif Path(program).name == "ml-pipeline":
        yield from problems_of_call(" ".join(arguments))
    elif Path(program).name == "python":
        module = arguments[1].replace(".", "/") if arguments[0] == "-m" else arguments[0].removesuffix(".py")
        if not ((ROOT / f"{module}.py").exists() or (ROOT / module / "__main__.py").exists()):
            yield f"{program}: there is no {module}"
        elif module == "infra":
            asked = [sys.executable, "-m", module, *arguments[2:3], "--help"]
            if subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode:
                yield f"{program} -m infra: there is no command {' '.join(arguments[2:3])}"
    elif not foreign:
        yield f"{program} is no program of the project's"


def problems_of_call(call: str) -> Iterator[str]:
    """What of a call of ``ml-pipeline`` does not exist."""
    name, *rest = call.split() or [""]
    if name not in cli.commands:
        yield f"ml-pipeline {name}: there is no such command"
        return
    known = {option for parameter in cli.commands[name].params for option in parameter.opts}
    for option in sorted({word.partition("=")[0] for word in rest if word.startswith("--")} - known):
        yield f"ml-pipeline {name}: there is no option {option}"


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def problems(document: Path, text: str) -> list[str]:
    """What a document says that is not so."""
    found = [problem for command in commands(text) for problem in problems_of(command)]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(NO_FILES):
            continue
        name, _, anchor = target.partition("#")
        file = ROOT / document.parent / name if name else None
        if file and not file.exists():
            found.append(f"{target}: there is no such file")
        elif anchor and anchor not in slugs(file.read_text(encoding="utf-8") if file else text):
            found.append(f"{target}: there is no such heading")
    # The tutorial creates files.
    created = set(re.findall(r"\b(?:Create|wrote) `?([\w./-]+\w)", text))
    for span in set(re.findall(r"`([^`\n]+)`", prose)) - created:
        found += problems_of_span(span)
    return found


def problems_of_span(span: str) -> Iterator[str]:
    """What of a name in a sentence does not exist: a file, a target, a command."""
    words = span.split()
    if words[0] == "make" and len(words) > 1:
        yield from (f"{span}: there is no such target" for word in words[1:2] if word not in TARGETS)
    elif words[0] == "ml-pipeline" and len(words) > 1:
        yield from problems_of_call(span.removeprefix("ml-pipeline "))
    elif span.startswith("python -m "):
        yield from missing_of(words, foreign=True)
    elif re.fullmatch(r"[\w.-]+\.yml", span):
        if not (ROOT / WORKFLOWS / span).exists():
            yield f"{span}: there is no such workflow"
    elif re.fullmatch(r"[\w.-][\w./-]*/[\w./-]*", span):
        top = ROOT / span.partition("/")[0]
        # What set-up installs and a run writes is there only once they have.
        if top.is_dir() and top.name not in (".venv", ".state") and not (ROOT / span).exists():
            yield f"{span}: there is no such file"


def text_of(document: str | Path) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", [document.as_posix() for document in DOCUMENTS])
def test_what_a_document_says_is_so(document: str) -> None:
    assert problems(Path(document), text_of(document)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```bash\nmake rum\n```", "make rum: there is no such target"),
        ("```bash\nmake deploy ENV=dev\n```", "make deploy ENV=dev: runs in no test"),
        ("```bash\nmake benchmark\n```", "make benchmark: runs in no test"),
        ("1. x\n\n   ```bash\n   make rum  # why\n   ```\n", "make rum: there is no such target"),
        ("```bash\n.venv/bin/ml-pipeline rum\n```", "ml-pipeline rum: there is no such command"),
        (f"```bash\n{ACCOUNT}\nml-pipeline run --stat x\n```", "ml-pipeline run: there is no option --stat"),
        ("```bash\n.venv/bin/ml-pipeline rollback\n```", ".venv/bin/ml-pipeline rollback: runs in no test"),
        ("```bash\n.venv/bin/python notebooks/9.py\n```", "there is no notebooks/9"),
        ("```bash\n.venv/bin/python -m infra.absent\n```", "there is no infra/absent"),
        ("```bash\n.venv/bin/python -m infra absent\n```", "there is no command absent"),
        ("```bash\n.venv/bin/python -c 'a b'\n```", "invalid syntax"),
        ("```bash\nterraform apply\n```", "terraform is no program of the project's"),
        (f"```bash\n{ACCOUNT}\naws s3 ls \\\n  x\nmake rum\n```", "make rum: there is no such target"),
        ("[x](docs/absent.md)", "docs/absent.md: there is no such file"),
        ("[x](docs/jobs.md#absent)", "docs/jobs.md#absent: there is no such heading"),
        ("# A heading: `it`\n[x](#a-heading-it) [y](#absent)", "#absent: there is no such heading"),
        ("`make rum`", "make rum: there is no such target"),
        ("`ml-pipeline rum`", "ml-pipeline rum: there is no such command"),
        ("`ml-pipeline ui --prot 1`", "ml-pipeline ui: there is no option --prot"),
        ("`python -m infra.absent`", "there is no infra/absent"),
        ("`absent.yml`", "absent.yml: there is no such workflow"),
        ("`ml_pipeline/absent.py`", "ml_pipeline/absent.py: there is no such file"),
    ],
)
def test_a_document_that_errs_is_found(text: str, expected: str) -> None:
    (found,) = problems(Path("README.md"), text)
    assert expected in found


def test_a_document_that_is_right_is_left_alone() -> None:
    text = "# One\n[a](#one) [b](docs/jobs.md) [c](https://example.com) `my.toml` `ENV=dev` `.state/report.md`\n"
    text += "`/tmp/a.csv`\n"
    text += "`make run`\n```bash\n.venv/bin/ml-pipeline run --state x  # it's a comment\n```\n"
    text += f"```bash\n{ACCOUNT}\nA=1 make deploy ENV=dev\naws x 'a\nb'\n```"
    assert problems(Path("README.md"), text) == []
    assert [command.words[0] for command in commands(text)] == [".venv/bin/ml-pipeline", "make", "aws"]


EVERY = [command for document in DOCUMENTS for command in commands(text_of(document))]


def test_the_list_of_what_runs_holds_nothing_else() -> None:
    unmarked = [command for command in EVERY if not command.mark]
    assert {command.line for command in unmarked} >= HERE
    assert set(RUNS) - {runs_as(command) for command in unmarked} == set()


def source_of(file: Path, test: str) -> str:
    """The source of a test and of what it uses, as far as it is in its file or in the fixtures beside it."""
    places = [place for place in (file, file.with_name("conftest.py")) if place.exists()]
    functions = {}
    for text in (place.read_text(encoding="utf-8") for place in reversed(places)):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = (ast.get_source_segment(text, node) or "", node)
    used, wanted = {}, [test]
    while wanted:
        name = wanted.pop()
        if name in used or name not in functions:
            continue
        used[name], node = functions[name]
        for part in ast.walk(node):
            found = {ast.Name: "id", ast.Attribute: "attr", ast.arg: "arg"}.get(type(part))
            wanted += [getattr(part, found)] if found else []
    return "\n".join(used.values()) if test in used else ""


def unproven(key: str, ran: Ran) -> list[str]:
    """Why a command does not run where it is said to."""
    name, _, test = ran.by.partition("::")
    file = ROOT / name
    if not file.exists():
        return [f"{key}: there is no {name}"]
    text = source_of(file, test) if test else file.read_text(encoding="utf-8")
    if not text:
        return [f"{key}: {name} has no {test}"]
    if ran.says not in text:
        return [f"{key}: {name} does not say {ran.says}"]
    if ran.recipe:
        done = subprocess.run(
            ["make", "--dry-run", *key.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode or ran.recipe not in done.stdout:
            return [f"{key}: does not do {ran.recipe}"]
    return []


@pytest.mark.parametrize("key", [*RUNS])
def test_a_command_runs_where_it_is_said_to(key: str) -> None:
    assert unproven(key, RUNS[key]) == []


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        (Ran(by="tests/absent.py::test", says=""), "there is no tests/absent.py"),
        (Ran(by="tests/test_docs.py::test_that_is_absent", says=""), "has no test_that_is_absent"),
        (Ran(by=".ci/run", says="make rum"), "does not say make rum"),
        (Ran(by=_LAUNCH.by, says="--existing-cluster"), "does not say --existing-cluster"),
        (Ran(by=".ci/run", says="make", recipe="ml-pipeline report"), "does not do ml-pipeline report"),
    ],
)
def test_a_command_that_runs_nowhere_is_found(ran: Ran, expected: str) -> None:
    (found,) = unproven("make run", ran)
    assert expected in found


@pytest.mark.parametrize("line", sorted(HERE))
def test_a_cheap_command_runs(line: str, tmp_path: Path) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        if not (ROOT / "node_modules" / ".bin" / "cdktf").exists():
            pytest.skip("cdktf is not installed: make synth installs it")
        # Without another installation of what is tested.
        words.insert(1, "--old-file=setup")
    else:
        words[0] = str(Path(sys.executable).with_name(Path(words[0]).name))
    environment = {**os.environ, "CDKTF_OUTDIR": str(tmp_path / "cdktf.out")}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


MEASURES = sorted({command.words[1] for command in EVERY if command.mark == BY_HAND})


@pytest.mark.parametrize("target", MEASURES)
def test_a_measurement_begins(target: str) -> None:
    recipe = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    scripts = re.findall(r"\.venv/bin/python (tests/[\w/]+\.py)", recipe)
    assert scripts
    for script in scripts:
        command = [sys.executable, str(ROOT / script), "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


VARIABLES = [("plan", "ENV=dev OUT=plans"), ("deploy", "ENV=dev REVIEWED=c.json"), ("diff", "ENV=dev OPTIONS=-x")]


@pytest.mark.parametrize(("target", "variables"), VARIABLES)
def test_a_target_with_variables_can_be_made(target: str, variables: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target, *variables.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert variables.split()[1].partition("=")[2] in done.stdout


def test_every_target_is_documented() -> None:
    assert TARGETS - set(re.findall(r"`make ([a-z-]+)`", text_of("docs/commands.md"))) == set()


GENERAL = {"--verbose", "--help"}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_is_documented_with_its_options(name: str) -> None:
    (row,) = [line for line in text_of("docs/commands.md").splitlines() if line.startswith(f"| `ml-pipeline {name}")]
    known = {option for parameter in cli.commands[name].params for option in parameter.opts if option[:2] == "--"}
    assert known - GENERAL - set(re.findall(r"`(--[a-z-]+)`", row)) == set()


def test_no_option_is_documented_that_there_is_not() -> None:
    rows = re.findall(r"^\| `ml-pipeline ([a-z-]+)(.*)$", text_of("docs/commands.md"), flags=re.MULTILINE)
    assert rows
    for name, row in rows:
        assert list(problems_of_call(" ".join([name, *re.findall(r"`(--[a-z-]+)`", row)]))) == []


def test_every_command_of_infra_is_documented() -> None:
    page = text_of("docs/commands.md").partition("## `python -m infra`\n")[2]
    documented = {
        name
        for row in re.findall(r"^\| (`.+?`) \|", page, flags=re.MULTILINE)
        for name in re.findall(r"`([\w-]+)", row)
    }
    actions = commands_of_infra.parser()._actions
    known = {name for action in actions if isinstance(action, argparse._SubParsersAction) for name in action.choices}
    assert len(known) > 10
    assert documented == known


def test_every_job_is_documented() -> None:
    declared = jobs.declare(files.load(files.find_pipeline("iris"), ROOT / "environments" / "local.toml"))
    assert [job.name for job in declared if f"- **{job.name}** " not in text_of("docs/jobs.md")] == []


def test_every_environment_is_documented() -> None:
    files = [f"environments/{file.name}" for file in (ROOT / "environments").glob("*.toml")]
    assert len(files) >= 5
    assert [name for name in files if f"| `{name}` |" not in text_of("docs/environments.md")] == []


def test_every_workflow_is_documented() -> None:
    files = [file.name for file in (ROOT / WORKFLOWS).glob("*.yml") if "make " in file.read_text(encoding="utf-8")]
    assert len(files) >= 9
    assert [name for name in files if f"`{name}`" not in text_of("docs/git-flow.md")] == []


def test_the_index_leads_to_every_document_and_the_readme_to_the_index() -> None:
    links = set(re.findall(r"\]\(([^)#\s]+)", text_of("docs/index.md")))
    leads = {os.path.normpath(Path("docs", link)) for link in links}
    assert {document.as_posix() for document in DOCUMENTS} - {"README.md", "docs/index.md"} - leads == set()
    assert "](docs/index.md)" in text_of("README.md")


DIALECT = re.compile(
    r"\brefus(e|es|ed|al|als|ing)\b|(?<!there )\b(is|are) no (?!longer)|\bthat very\b|\bshall\b|stand-in"
    r"|(?<!there )\bis none\b"
    r"|\b(says|hears|told|heard|hear of)\b|\bma(kes?|de) good\b|\bwalk(s|ed)? (\w+ )?as\b|\bloudly\b|\bof which\b"
    r"|\bsuch as an? \w+ (reaches|takes)\b|\bmeets their credentials\b|\bmade and\b.*\bdoes not know\b",
    re.IGNORECASE,
)
"""Turns of phrase that newcomers stumbled over; the glossary has the words to use."""


def texts() -> Iterator[tuple[str, str]]:
    """All that a person reads beside error messages: documents, comments of settings files, help."""
    for file in (*DOCUMENTS, Path("CHANGELOG.md")):
        text = text_of(file)
        if file.name == "CHANGELOG.md":
            text = text.partition("## [Unreleased]")[2].partition("\n## [")[0]
        # The glossary names the words that are not used.
        lines = [line for line in text.splitlines() if file.name != "glossary.md" or not line.startswith("|")]
        yield str(file), " ".join(lines)
    for settings in (*(ROOT / "environments").glob("*.toml"), *(ROOT / "ml_pipeline/pipelines").glob("*/*.toml")):
        comments = re.findall(r"# (.*)$", settings.read_text(encoding="utf-8"), flags=re.MULTILINE)
        yield str(settings.relative_to(ROOT)), " ".join(comments)
    yield "make help", " ".join(re.findall(r"^[a-z-]+:.*## (.*)$", text_of("Makefile"), flags=re.MULTILINE))
    yield "python -m infra --help", commands_of_infra.parser().format_help()
    for name, command in cli.commands.items():
        options = [parameter.help or "" for parameter in command.params if isinstance(parameter, click.Option)]
        yield f"ml-pipeline {name} --help", " ".join([command.help or "", *options])


@pytest.mark.parametrize("package", ["ml_pipeline", "infra"])
def test_messages_docstrings_and_comments_are_plain(package: str) -> None:
    kinds = (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    texts = []
    for file in sorted((ROOT / package).rglob("*.py")):
        with tokenize.open(file) as source:
            tokens = tokenize.generate_tokens(source.readline)
            texts += [" ".join(token.string.split()) for token in tokens if token.type in kinds]
    assert len(texts) > 1000
    assert [text for text in texts if DIALECT.search(text)] == []


@pytest.mark.parametrize(("place", "text"), [*texts()], ids=lambda value: value if len(value) < 60 else "")
def test_the_prose_is_plain(place: str, text: str) -> None:
    assert [found[0] for found in DIALECT.finditer(" ".join(text.split()))] == [], place


@pytest.mark.parametrize(
    "line",
    [
        *("A model is refused.", "This is no key.", "that very plan", "The log says more.", "a run makes good another"),
        *(
            "Forests are walked as machine code.",
            "It says loudly what is lost.",
            "It shall not come.",
            "This is no day.",
        ),
        *("Paths are such as a cluster reaches.", "of which one is used", "no code meets their credentials"),
        "what it made and the state does not know",
    ],
)
def test_a_turn_of_phrase_is_found(line: str) -> None:
    assert DIALECT.search(line)
