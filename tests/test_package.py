"""The wheel and the sdist have the right contents, and the wheel works without the sources."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from mountsea_banana import __version__

from scripts import release_check

ROOT = Path(__file__).parent.parent


def test_the_changelog_starts_with_this_version_or_unreleased_changes() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    released = [heading for heading in headings if heading != "[Unreleased]"]
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each) for each in released)
    assert headings[0] == "[Unreleased]" or headings[0].startswith(f"[{__version__}] - ")


def test_the_pages_have_the_repository_and_the_install_lines_of_the_settings() -> None:
    for page in release_check.pages():
        assert page.read_text("utf-8") == release_check.updated(page)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pip install .          # all", "pip install mountsea-banana          # all"),
        ("`pip install '.[cli]'`.", "`pip install 'mountsea-banana[cli]'`."),
        (
            "- pip install 'mountsea-banana[mock] @ git+https://github.com/me/mountsea-banana'\n",
            "- pip install 'mountsea-banana[mock]'\n",
        ),
        ("uses: me/mountsea-banana/.github", "uses: you/mountsea-banana/.github"),
        ("a file in ~/share/mountsea-banana", "a file in ~/share/mountsea-banana"),
    ],
)
def test_a_release_changes_every_install_line_and_url(
    before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"repository": "you/mountsea-banana", "on-index": True}
    monkeypatch.setattr(release_check, "settings", lambda: settings)
    (tmp_path / "page.md").write_text(f"x {before}", "utf-8")
    assert release_check.updated(tmp_path / "page.md") == f"x {after}"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def sources() -> set[str]:
    """Return the files of the packages that git tracks."""
    listed = subprocess.check_output(
        ["git", "ls-files", "generated_client", "wrapper"], cwd=ROOT, text=True
    )
    return {line.partition("/")[2] for line in listed.splitlines()}


def test_the_wheel_contains_the_packages_the_plugin_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = f"mountsea_banana-{__version__}.dist-info"
    extra = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    assert names == sources() | {f"{metadata}/{name}" for name in extra}
    for needed in (
        "mountsea_api/openapi.yaml",
        "mountsea_api/py.typed",
        "mountsea_banana/py.typed",
        "mountsea_banana/contract/rules.overlay.yaml",
        "mountsea_banana/mock/page.html",
        "mountsea_banana/harness/report.html",
    ):
        assert needed in names


def test_the_wheel_installs_the_command_and_the_plugin(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    name = f"mountsea_banana-{__version__}.dist-info/entry_points.txt"
    entry_points = zipfile.ZipFile(wheel).read(name).decode()
    assert entry_points.split() == [
        *("[console_scripts]", "nano-banana", "=", "mountsea_banana.cli:main"),
        *("[pytest11]", "pytest_mountsea_banana", "=", "pytest_mountsea_banana"),
    ]


def test_the_metadata_lists_the_dependencies_and_extras(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    name = f"mountsea_banana-{__version__}.dist-info/METADATA"
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    required = re.findall(
        r"^Requires-Dist: ([a-z-]+)[^;\n]*?(?:; extra == '(\w+)')?$", metadata, re.M
    )
    assert {each for each, extra in required if not extra} == {"attrs", "httpx"}
    assert {extra for _, extra in required if extra} == {
        *("cli", "contract", "dask", "ledger", "mcp", "mock"),
    }
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Classifier: Typing :: Typed" in metadata
    assert "Project-URL: API documentation, https://docs.mountsea.ai" in metadata


def test_the_sdist_contains_what_the_wheel_is_built_from(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    packages = {f"generated_client/{n}" for n in sources() if n.startswith("mountsea_api/")}
    packages |= {f"wrapper/{n}" for n in sources() if not n.startswith("mountsea_api/")}
    roots = {"openapi.yaml", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO"}
    assert names - {".gitignore"} == packages | roots


def test_the_unpacked_wheel_works_without_the_sources(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)  # noqa: S202 - built by this test
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import mountsea_banana, mountsea_api\n"
        "from mountsea_banana.contract import Contract\n"
        "assert mountsea_banana.check_request({'prompt': 'x', 'action': 'edit'})\n"
        "print(mountsea_banana.__file__, mountsea_api.__file__, len(Contract.load().rules))"
    )
    output = subprocess.check_output([sys.executable, "-I", "-c", code], text=True, cwd=tmp_path)
    assert output.count(str(tmp_path)) == 2
    assert output.endswith(" 5\n")
