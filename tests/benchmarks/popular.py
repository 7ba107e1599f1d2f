"""A lock of many real projects, made from the machine's own index: newest final release of each, all its files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from mirror import filenames
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.errors import RemoteError
from mirror.simple import html
from mirror.web import Web

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.version import Version

    from mirror.model import Digest
    from mirror.simple.page import PageFile

NAMES = """
aiohttp aiosignal alembic amqp annotated-types anyio argon2-cffi argon2-cffi-bindings asgiref attrs babel backoff bcrypt
beautifulsoup4 billiard black bleach blinker boto3 botocore brotli build cachetools celery certifi cffi
charset-normalizer click cloudpickle colorama contourpy coverage cryptography cycler cython dask decorator defusedxml
deprecated dill distlib django dnspython docutils email-validator execnet executing faker fastapi fastjsonschema
filelock flask fonttools frozenlist fsspec gevent google-auth googleapis-common-protos greenlet grpcio gunicorn h11
h5py html5lib httpcore httptools httpx hypothesis idna imagesize importlib-metadata iniconfig ipython isodate
itsdangerous jedi jinja2 jmespath joblib jsonpatch jsonpointer jsonschema jsonschema-specifications kiwisolver kombu
lazy-object-proxy llvmlite lxml mako markdown markdown-it-py markupsafe matplotlib mdurl more-itertools msgpack
multidict mypy mypy-extensions nbformat networkx numba numpy oauthlib openpyxl orjson packaging pandas parso pathspec
pillow platformdirs pluggy prompt-toolkit propcache protobuf psutil psycopg2-binary pyarrow pyasn1 pycparser pydantic
pydantic-core pygments pyjwt pynacl pyparsing pytest python-dateutil python-dotenv pytz pyyaml pyzmq regex requests rich
rpds-py ruff scikit-learn scipy setuptools shapely simplejson six sniffio soupsieve sqlalchemy starlette sympy tenacity
threadpoolctl tomli tornado tqdm traitlets typing-extensions tzdata ujson urllib3 uvicorn uvloop watchfiles wcwidth
websockets werkzeug wrapt yarl zipp zstandard
""".split()  # noqa: SIM905 - a list that people edit


_LARGEST_PAGE = 64 << 20


def make(folder: Path, index: str, names: list[str]) -> int:
    """Write poetry.lock and pyproject.toml into `folder`; return the number of packages that could be locked."""
    web = Web(Network(timeout=60), Credentials([index]), os.environ, connections=16)
    with closing(web), ThreadPoolExecutor(16) as pool:

        def read(name: str) -> str:
            url = urljoin(index.rstrip("/") + "/", f"{name}/")
            with web.request("GET", url, {"Accept": "text/html"}) as reply:
                body = reply.body(_LARGEST_PAGE)
            if reply.status != 200:
                raise RemoteError(f"{reply.url} answers {reply.status}")
            return _table(name, _newest(html.parse(body, reply.url, name).files))

        tables = [table for table in pool.map(read, names) if table]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "poetry.lock").write_text(
        "\n".join(tables)
        + '\n[metadata]\nlock-version = "2.1"\npython-versions = ">=3.12,<3.13"\ncontent-hash = "made-up"\n'
    )
    project = '[project]\nname = "benchmark"\nversion = "1"\nrequires-python = ">=3.12,<3.13"\n'
    (folder / "pyproject.toml").write_text(project)
    return len(tables)


def _newest(files: tuple[PageFile, ...]) -> dict[Version, list[PageFile]]:
    releases: dict[Version, list[PageFile]] = {}
    for file in files:
        if file.digests and file.yanked is None:
            try:
                version = filenames.parse(file.filename).version
            except filenames.InvalidFilename:
                continue
            if not version.is_prerelease:
                releases.setdefault(version, []).append(file)
    newest = max(releases, default=None)
    return {newest: releases[newest]} if newest else {}


def _table(name: str, release: dict[Version, list[PageFile]]) -> str:
    for version, files in release.items():
        lines = "".join(f'    {{file = "{file.filename}", hash = "{_sha256(file.digests)}"}},\n' for file in files)
        return (
            f'[[package]]\nname = "{name}"\nversion = "{version}"\ndescription = ""\noptional = false\n'
            f'python-versions = ">=3.8"\ngroups = ["main"]\nfiles = [\n{lines}]\n'
        )
    return ""


def _sha256(digests: tuple[Digest, ...]) -> str:
    return next(str(digest) for digest in digests if digest.algorithm == "sha256")
