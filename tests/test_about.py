"""The page for people about a project: valid, self-contained, unmoved by what strangers wrote."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from html import unescape
from itertools import pairwise
from urllib.parse import unquote, urljoin

import html5lib
import pytest

from mirror import layout
from mirror.model import About
from mirror.simple import about as about_page
from mirror.simple.held import held
from mirror.simple.people import policy
from mirror.simple.site import PEOPLE_POLICY, pages
from tests.oddities import FULL, Anchors, about, artifact, manifest, status

PAGES = {key: body for key, body in pages(FULL) if key.startswith(layout.PROJECTS)}
DEMO = PAGES["projects/demo.html"].decode("ascii")

every_page = pytest.mark.parametrize("key", PAGES)


def render(*artifacts: object, **more: object) -> str:
    """The page of the only project of a manifest."""
    (project,) = held(manifest(*artifacts, **more))  # type: ignore[arg-type]
    return about_page.render(project).decode("ascii")


def text_of(page: str) -> str:
    body = re.sub(r"<script>.*?</script>", "", page[page.index("<body") :], flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def rows(page: str) -> list[str]:
    found = [re.sub(r"\b[0-9a-f]{64}\b", "SHA", row) for row in re.findall(r"<tr><td>.*?</tr>", page, re.DOTALL)]
    return [text_of(f"<body>{row}") for row in found]


def test_every_project_has_one() -> None:
    assert list(PAGES) == [layout.project_html_key(name) for name in sorted({held.project for held in FULL.artifacts})]


@every_page
def test_h1_valid_html5_in_ascii(key: str) -> None:
    html5lib.HTMLParser(strict=True).parse(PAGES[key])
    assert PAGES[key].isascii()


@every_page
def test_it_fetches_nothing_and_the_policies_admit_exactly_its_style_and_script(key: str) -> None:
    page = PAGES[key].decode()
    tags = Anchors(PAGES[key])
    assert not set(tags.tags) & {"img", "link", "iframe", "object", "form", "base", "svg", "video", "audio"}
    assert not re.search(r"url\(|@import|<[^>]+\s(on[a-z]+|style|src)=", page)
    (stated,) = [tag["content"] for tag in tags.meta if "http-equiv" in tag]
    digests = {}
    for element in ("script", "style"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digests[element] = f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert stated == policy(about_page.DRESS)
    assert stated == (
        f"default-src 'none'; script-src {digests['script']}; style-src {digests['style']}; "
        "base-uri 'none'; form-action 'none'"
    )
    for element, digest in digests.items():
        (directive,) = [part for part in PEOPLE_POLICY.split("; ") if part.startswith(f"{element}-src")]
        assert digest in directive


@every_page
@pytest.mark.parametrize("prefix", ["https://a.example/", "https://a.example/deep/er/", "file:///srv/site/"])
def test_every_link_of_ours_is_relative_and_leads_to_what_is_there(key: str, prefix: str) -> None:
    site = {*dict(pages(FULL)), *(layout.artifact_key(each.filename) for each in FULL.artifacts)}
    hrefs = [str(attrs["href"]) for attrs, _ in Anchors(PAGES[key]).found if "rel" not in attrs]
    found = {unquote(urljoin(prefix + key, href)) for href in hrefs}
    name = key[len(layout.PROJECTS) : -len(".html")]
    files = {layout.artifact_key(each.filename) for each in FULL.artifacts if each.project == name}
    assert found == {prefix + each for each in ("index.html", f"simple/{name}/index.html", *files)}
    assert found <= {prefix + each for each in site}


def test_a_plus_in_a_link_is_quoted() -> None:
    assert 'href="../packages/torch-2.1.0%2Bcu118-cp311' in PAGES["projects/torch.html"].decode()


def test_links_of_strangers_are_told_nothing() -> None:
    outside = {text: attrs for attrs, text in Anchors(DEMO.encode()).found if "rel" in attrs}
    assert outside["Source"] == {"href": "http://demo.example", "rel": "noopener noreferrer nofollow"}
    assert {attrs["rel"] for attrs in outside.values()} == {"noopener noreferrer nofollow"}
    assert '<meta name="referrer" content="no-referrer">' in DEMO


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    """Summary, licence, label, yank reason and status reason are all HOSTILE here."""
    assert DEMO.count("<script>") == PAGES["projects/archived.html"].count(b"<script>") == 1
    shown = text_of(DEMO)
    assert shown.count('<script>alert("1")</script> & it\'s yanked') == 4
    assert "The reason given: <script>alert" in text_of(PAGES["projects/archived.html"].decode())


def test_nothing_turns_the_text_around_it() -> None:
    said = "safe \u202eelif\u202c \u2066x\u2069 \u200fy"
    page = render(artifact("demo-1.0.tar.gz", yanked=said), about=(about("demo-1.0.tar.gz", summary=said),))
    assert not re.search(r"&#(8234|8235|8236|8237|8238|8294|8295|8296|8297|8206|8207|1564);", page)
    assert "safe elif x y" in text_of(page)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,x",
        "//demo.example",
        "https:demo.example",
        "https://",
        "https:///x",
        "https://known.example@other.example/",
        "https://demo.example\\@other.example/",
        "https://demo.example/ x",
        'https://demo.example/"onclick="x',
        "https://demo.example/<b>",
        "https://demo.example/\n",
        " https://demo.example/",
    ],
)
def test_a_link_that_is_more_than_a_link_cannot_be_made(url: str) -> None:
    with pytest.raises(ValueError, match="no link to a page"):
        About(filename="", links=(("x", url),))


@pytest.mark.parametrize(
    "url", ["https://demo.example", "http://[::1]:80/a", "https://demo.example/@me?a=b@c#d", "https://d.example?q"]
)
def test_links_to_pages_are_links(url: str) -> None:
    assert About(filename="", links=(("x", url),)).links[0][1] == url


def test_versions_come_newest_first_and_files_by_platform() -> None:
    page = render(
        artifact("demo-1.9-py3-none-any.whl", size=1500),
        artifact("demo-1.10.tar.gz", size=3),
        artifact("demo-1.10-cp311-cp311-win_amd64.whl", size=2_000_000, upload_time="2024-01-02T03:04:05.6Z"),
        artifact("demo-1.10-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", size=1),
        artifact("demo-1.10-cp311-cp311-macosx_11_0_arm64.whl", size=1),
        artifact("demo-1.10-py3-none-any.whl", size=1),
    )
    assert re.findall(r'<h3 id="([^"]+)">', page) == ["1.10", "1.9"]
    assert rows(page) == [
        "demo-1.10-py3-none-any.whl SHA any platform Python 3 1 B",
        "demo-1.10-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl SHA Linux x86_64 CPython 3.11 1 B",
        "demo-1.10-cp311-cp311-macosx_11_0_arm64.whl SHA macOS arm64 CPython 3.11 1 B",
        "demo-1.10-cp311-cp311-win_amd64.whl SHA Windows amd64 CPython 3.11 2.0 MB 2024-01-02",
        "demo-1.10.tar.gz SHA any platform source, to be built 3 B",
        "demo-1.9-py3-none-any.whl SHA any platform Python 3 1.5 kB",
    ]
    assert '<time datetime="2024-01-02T03:04:05.6Z">' in page
    assert all(artifact(name).sha256 in page for name in ("demo-1.9-py3-none-any.whl", "demo-1.10.tar.gz"))


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ("py2.py3-none-any", "any platform Python 2, Python 3"),
        ("cp39-abi3-musllinux_1_2_aarch64", "Linux aarch64 (musl) CPython 3.9+"),
        ("cp313-cp313t-win_arm64", "Windows arm64 CPython 3.13 free-threaded"),
        ("pp310-pypy310_pp73-linux_armv7l", "Linux armv7l PyPy 3.10"),
        ("cp37-cp37m-win32", "Windows x86 CPython 3.7"),
        ("cp311-cp311-manylinux1_i686", "Linux i686 CPython 3.11"),
        ("cp311-cp311-macosx_10_9_universal2", "macOS universal2 CPython 3.11"),
        ("graalpy311-graalpy240_311_native-emscripten_3_1_wasm32", "emscripten_3_1_wasm32 graalpy311"),
    ],
)
def test_tags_are_put_into_words(tags: str, shown: str) -> None:
    (row,) = rows(render(artifact(f"demo-1.0-{tags}.whl", size=1)))
    assert row == f"demo-1.0-{tags}.whl SHA {shown} 1 B"


def test_requires_python_is_said_once_where_all_files_agree_and_of_each_where_not() -> None:
    agreed = render(
        artifact("demo-1.0-py3-none-any.whl", requires_python=">=3.8,<4", size=1),
        artifact("demo-1.0.tar.gz", requires_python=">=3.8,<4", size=1),
    )
    assert "Requires Python >=3.8,<4 · 2 files · 2 B" in text_of(agreed)
    assert "requires" not in " ".join(rows(agreed))
    odd = render(
        artifact("demo-1.0-py3-none-any.whl", requires_python=">=3.8", size=1), artifact("demo-1.0.tar.gz", size=1)
    )
    assert rows(odd) == [
        "demo-1.0-py3-none-any.whl SHA any platform Python 3, requires >=3.8 1 B",
        "demo-1.0.tar.gz SHA any platform source, to be built 1 B",
    ]


def test_a_yanked_file_says_so_with_its_reason_and_a_release_when_all_its_files_are() -> None:
    page = render(
        artifact("demo-2.0.tar.gz", yanked="", size=1),
        artifact("demo-1.0.tar.gz", yanked="breaks <things>", size=1),
        artifact("demo-1.0-py3-none-any.whl", size=1),
    )
    assert text_of(page).count("yanked") == 1
    assert re.search(r'<h3 id="2.0">2.0 <span class="tag bad">yanked', page)
    assert rows(page)[0].startswith("demo-2.0.tar.gz SHA Yanked upstream, without a reason any")
    assert "Yanked upstream: breaks <things>" in rows(page)[2]


def test_what_is_installed_is_the_newest_release_that_is_not_yanked() -> None:
    page = render(artifact("demo-2.0.tar.gz", yanked=""), artifact("demo-1.0.tar.gz"))
    assert "Install 1.0" in text_of(page)
    assert "Install 2.0" in text_of(
        render(artifact("demo-2.0.tar.gz", yanked=""), artifact("demo-1.0.tar.gz", yanked=""))
    )


def test_whoever_would_install_a_yanked_release_is_told_first() -> None:
    why = "breaks <things>"
    page = render(
        artifact("demo-1.0.tar.gz", yanked=why),
        artifact("demo-1.0-py3-none-any.whl", yanked=why),
        artifact("demo-0.9.tar.gz", yanked="older"),
    )
    heading = page.index('<h2 id="install">Install 1.0 <span class="tag bad">yanked')
    told = page[heading : page.index("<pre", heading)]
    assert told.count("Yanked upstream: breaks &lt;things&gt;") == 1
    assert "older" not in told
    good = render(artifact("demo-1.0.tar.gz"), artifact("demo-2.0.tar.gz", yanked=why))
    assert "yanked" not in good[good.index('id="install"') : good.index('id="files"')].lower()


@pytest.mark.parametrize(("licence", "long"), [("Apache-2.0", False), ("MIT & BSD & Apache", False), ("L" * 25, True)])
def test_a_long_licence_is_no_headline(licence: str, *, long: bool) -> None:
    page = render(artifact("demo-1.0.tar.gz"), about=(about("demo-1.0.tar.gz", license=licence),))
    (found,) = re.findall(r"<dt>licence, as stated</dt><dd([^>]*)>", page)
    assert bool(found) is long


def blocks(page: str) -> list[str]:
    return [unescape(re.sub(r"<[^>]+>", "", block)) for block in re.findall(r"<pre.*?</pre>", page, re.DOTALL)]


def test_the_lines_install_that_very_version_from_this_index_alone() -> None:
    index, pin = "https://mirror.example/simple/", "epoch==1!2.0"
    pip, uv, poetry, pdm, hashes = blocks(PAGES["projects/epoch.html"].decode())
    assert shlex.split(pip) == ["pip", "install", "--index-url", index, pin]
    assert shlex.split(uv) == ["uv", "pip", "install", "--default-index", index, pin]
    assert [shlex.split(line) for line in poetry.splitlines()] == [
        ["poetry", "source", "add", "--priority=primary", "mirror", index],
        ["poetry", "add", "--source=mirror", pin],
    ]
    assert [shlex.split(line) for line in pdm.splitlines()] == [
        ["pdm", "config", "pypi.url", index],
        ["pdm", "add", pin],
    ]
    digest = artifact("epoch-1!2.0-py3-none-any.whl").sha256
    assert hashes == f"{pin} \\\n    --hash=sha256:{digest}"
    assert "'epoch==1!2.0'" in pip, "an interactive shell reads ! for itself"


def test_the_requirement_with_hashes_names_every_file_of_the_release() -> None:
    names = ("demo-1.0.tar.gz", "demo-1.0-py3-none-any.whl")
    line = blocks(render(*map(artifact, names), artifact("demo-0.9.tar.gz")))[-1]
    assert re.findall(r"--hash=sha256:([0-9a-f]{64})", line) == [artifact(name).sha256 for name in sorted(names)]


def test_what_is_not_known_is_not_made_up() -> None:
    page = render(artifact("demo-1.0.tar.gz"))
    assert "licence not stated" in text_of(page)
    assert 'class="lead"' not in page
    stated = render(artifact("demo-1.0.tar.gz"), about=(about("demo-1.0.tar.gz", license="MIT"),))
    assert "licence, as stated MIT" in text_of(stated)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("archived", "It is archived: its maintainers do not expect"),
        ("deprecated", "It is deprecated:"),
        ("quarantined", "It is quarantined upstream as possibly unsafe; here are still the bytes"),
        ("<odd>", "Upstream states that it is <odd>."),
    ],
)
def test_a_status_is_explained(value: str, words: str) -> None:
    page = render(artifact("demo-1.0.tar.gz"), statuses=(status("demo", value, "the <reason>"),))
    assert words in text_of(page)
    assert "The reason given: the <reason>" in text_of(page)
    assert "reason given" not in text_of(render(artifact("demo-1.0.tar.gz"), statuses=(status("demo", value),)))


@every_page
def test_it_is_readable_for_everyone_and_without_a_script(key: str) -> None:
    page = PAGES[key].decode()
    body = page[page.index("<body") : page.index("<script>")]
    assert '<html lang="en">' in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    headings = [int(level) for level in re.findall(r"<h(\d)", body)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert body.count("<main>") == body.count("</main>") == 1
    assert "<button" not in body
    assert " hidden" not in body
    assert body.count("<th ") == body.count('<th scope="col"')
    assert all(re.search(r'aria-label="[^"]+"', block) for block in re.findall(r"<pre[^>]*>", body))
    ids = re.findall(r'\sid="([^"]+)"', body)
    assert len(ids) == len(set(ids))
