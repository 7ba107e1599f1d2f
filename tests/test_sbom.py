"""The bill of materials: what it says of each file, that it is valid, and that it is the same on every run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from mirror.model import About, Artifact, Digest, Manifest, Origin, PlannedFile
from mirror.sbom import render
from tests import project as projects
from tests.faulty_index import FaultyIndex

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "https://index.example/simple"
NIL = "urn:uuid:00000000-0000-0000-0000-000000000000"
OTHER = "https://other.example/simple/"


def artifact(filename: str, of: str = "a", **more: Any) -> Artifact:
    name, version = filename.removesuffix(".tar.gz").split("-")[:2]
    return Artifact(filename=filename, project=canonicalize_name(name), version=version, sha256=of * 64, size=1, **more)


def planned(file: Artifact, **more: Any) -> PlannedFile:
    known: dict[str, Any] = {"url": f"https://files.example/{file.filename}", "index": INDEX, **more}
    return PlannedFile(
        filename=file.filename, project=file.project, version=file.version, digest=Digest("sha256", file.sha256),
        home="noarch", python="3.11", **known,
    )  # fmt: skip


WHEEL = artifact("alpha-1.0-py3-none-any.whl", upload_time="2026-01-02T03:04:05.678901Z")
SDIST = artifact("alpha-1.0.tar.gz", "b", upload_time="2026-01-02T03:04:06Z")
BETA = artifact("beta-2.0+local-py3-none-any.whl", "c")
MANIFEST = Manifest(
    artifacts=(WHEEL, SDIST, BETA),
    locks=("sha256:" + "0" * 64,),
    origins=(Origin(digest="sha256:" + "0" * 64, file="poetry.lock", project="demo"),),
    about=(
        (WHEEL.project, About(filename=WHEEL.filename, summary="Made \u00fcp", license="MIT OR Apache-2.0")),
        (BETA.project, About(filename=BETA.filename, license="Do what <you> like")),
    ),
)


def bill(manifest: Manifest = MANIFEST, *files: PlannedFile) -> dict[str, Any]:
    data = render(manifest, files, default_index=f"{INDEX}/")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    document: dict[str, Any] = json.loads(data)
    return document


def component(name: str, document: dict[str, Any]) -> dict[str, Any]:
    (found,) = [entry for entry in document["components"] if entry["name"] == name]
    return dict(found)


def test_a_release_is_one_component_with_its_files() -> None:
    alpha = component("alpha", bill(MANIFEST, planned(WHEEL), planned(SDIST)))
    assert alpha["purl"] == "pkg:pypi/alpha@1.0"
    assert {
        entry["comment"]: (entry["url"], entry["type"], entry["hashes"]) for entry in alpha["externalReferences"]
    } == {
        file.filename: (
            f"https://files.example/{file.filename}",
            "distribution",
            [{"alg": "SHA-256", "content": file.sha256}],
        )
        for file in (WHEEL, SDIST)
    }
    assert "hashes" not in alpha


def test_a_release_of_one_file_has_its_hash() -> None:
    beta = component("beta", bill())
    assert beta["hashes"] == [{"alg": "SHA-256", "content": BETA.sha256}]
    assert PackageURL.from_string(beta["purl"]).version == "2.0+local"


def test_what_a_project_says_of_itself() -> None:
    document = bill()
    alpha, beta = component("alpha", document), component("beta", document)
    assert alpha["description"] == "Made \u00fcp"
    assert alpha["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert beta["licenses"] == [{"license": {"name": "Do what <you> like"}}]


def test_an_older_release_does_not_say_what_the_newest_says() -> None:
    older = artifact("alpha-0.9-py3-none-any.whl", "d")
    document = bill(replace(MANIFEST, artifacts=(older, *MANIFEST.artifacts)))
    said = {entry["version"]: "licenses" in entry for entry in document["components"] if entry["name"] == "alpha"}
    assert said == {"0.9": False, "1.0": True}


@pytest.mark.parametrize(
    "text", ["MIT", "mit", "GPL-3.0-only WITH Classpath-exception-2.0", "Proprietary", "\x01\u202e"]
)
def test_any_text_may_be_a_licence(text: str) -> None:
    about = About(filename=WHEEL.filename, license=text)
    assert component("alpha", bill(replace(MANIFEST, about=((WHEEL.project, about),))))["licenses"]


def test_another_index_is_named() -> None:
    files = planned(BETA, index="https://user:secret@other.example/simple/"), planned(WHEEL)
    document = bill(MANIFEST, *files)
    purl = PackageURL.from_string(component("beta", document)["purl"])
    assert purl.qualifiers == {"repository_url": OTHER.rstrip("/")}
    assert not PackageURL.from_string(component("alpha", document)["purl"]).qualifiers


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("https://user:secret@host.example/a.whl", "https://host.example/a.whl", id="password"),
        pytest.param("https://host.example/a.whl?X-Signature=secret#x", "https://host.example/a.whl", id="signature"),
        pytest.param("file:///home/me/secret/a.whl", f"packages/{WHEEL.filename}", id="path"),
        pytest.param("", f"packages/{WHEEL.filename}", id="unknown"),
    ],
)
def test_no_secret_leaves_with_an_address(url: str, shown: str) -> None:
    document = bill(MANIFEST, planned(WHEEL, url=url))
    reference = component("alpha", document)["externalReferences"]
    assert [entry["url"] for entry in reference if entry["comment"] == WHEEL.filename] == [shown]
    assert "secret" not in json.dumps(document)


def test_the_same_manifest_gives_the_same_bytes_and_another_one_another_number() -> None:
    files = (planned(WHEEL), planned(SDIST))
    assert render(MANIFEST, files) == render(MANIFEST, reversed(files))
    other = replace(MANIFEST, artifacts=(replace(WHEEL, sha256="d" * 64), SDIST, BETA))
    numbers = {bill(manifest)["serialNumber"] for manifest in (MANIFEST, MANIFEST, other)}
    assert len(numbers) == 2
    assert NIL not in numbers


def test_no_summary_takes_the_serial_number() -> None:
    said = About(filename=WHEEL.filename, summary=f"Made of {NIL}")
    document = bill(replace(MANIFEST, about=((WHEEL.project, said),)))
    assert component("alpha", document)["description"] == said.summary
    assert document["serialNumber"] != NIL


@pytest.mark.parametrize("time", ["2027-02-30T25:61:61Z", "0000-01-01T00:00:00Z"])
def test_what_is_no_time_is_passed_over(time: str) -> None:
    odd = replace(SDIST, upload_time=time)
    assert bill(replace(MANIFEST, artifacts=(WHEEL, odd)))["metadata"]["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert bill(Manifest(artifacts=(odd,)))["metadata"]["timestamp"].startswith("1980-01-01")


def test_its_time_is_that_of_the_newest_upload() -> None:
    assert bill()["metadata"]["timestamp"] == "2026-01-02T03:04:06+00:00"
    assert bill(Manifest(artifacts=(BETA,)))["metadata"]["timestamp"].startswith("1980-01-01")


def test_it_says_what_it_is_about() -> None:
    document = bill()
    subject = document["metadata"]["component"]
    assert (subject["name"], subject["type"]) == ("demo", "application")
    (of,) = [entry["dependsOn"] for entry in document["dependencies"] if entry["ref"] == subject["bom-ref"]]
    assert set(of) == {entry["bom-ref"] for entry in document["components"]}


def test_a_yanked_file_is_named() -> None:
    yanked = replace(BETA, yanked="broken")
    beta = component("beta", bill(replace(MANIFEST, artifacts=(yanked,))))
    assert beta["properties"] == [{"name": "mirror:yanked", "value": f"{BETA.filename} broken"}]


def test_an_empty_mirror_has_a_bill() -> None:
    assert "components" not in bill(Manifest())


def test_the_command_writes_what_was_mirrored(tmp_path: Path) -> None:
    with FaultyIndex() as index:
        project = projects.make(tmp_path, index)
        assert project.mirror("refresh", "--quiet").returncode == 0
        printed = project.mirror("sbom")
        assert printed.returncode == 0, printed.stderr
        assert project.mirror("sbom", "--output", str(tmp_path / "bill.json")).returncode == 0
        assert (tmp_path / "bill.json").read_text(encoding="utf-8") == printed.stdout
        document = json.loads(printed.stdout)
        assert {entry["name"] for entry in document["components"]} == {"alpha", "beta", "native", "source"}
        alpha = component("alpha", document)
        assert alpha["externalReferences"][0]["url"].startswith(index.root)
        purl = PackageURL.from_string(alpha["purl"])
        assert isinstance(purl.qualifiers, dict)
        assert purl.qualifiers["repository_url"] == index.url.rstrip("/")


def test_without_a_manifest_there_is_nothing_to_bill(tmp_path: Path) -> None:
    with FaultyIndex() as index:
        done = projects.make(tmp_path, index).mirror("sbom")
    assert done.returncode == 2
    assert "mirror consolidate" in done.stderr
