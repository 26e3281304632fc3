"""No file of the project holds a key, a token, or the home folder of whoever wrote it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("vitsweep", "analysis", "conf", "docs", "tests", "README.md", "run.py", "pyproject.toml", ".ci")
SECRET = re.compile(
    r"wandb_v1_\w{20}|\bgh[pousr]_[A-Za-z0-9]{36}|\bhf_[A-Za-z0-9]{30}|\bsk-[\w-]{30}|AKIA[0-9A-Z]{16}"
    r"|BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:api.?key|token|password|secret)\W{1,4}[0-9a-f]{32,}"
)
HOME = re.compile(r"/(?:home|Users)/[a-z]\w+|/root/|[A-Z]:\\\\?Users\\")


def project_files() -> list[Path]:
    """Text files of the project; what only lies about in a checkout is left out."""
    found = [path for place in PLACES for path in [ROOT / place, *(ROOT / place).rglob("*")]]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def guilty(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    """The files in which the pattern occurs, with the place."""
    hits = ((path, pattern.search(path.read_text(encoding="utf-8", errors="ignore"))) for path in files)
    return [f"{path.relative_to(ROOT)}: {hit[0]}" for path, hit in hits if hit]


def test_no_key_or_token_is_in_the_project():
    assert guilty(SECRET, project_files()) == []


def test_nobodys_home_is_in_the_project():
    files = [path for path in project_files() if "tests" not in path.parts]  # tests make up people of their own
    assert guilty(HOME, files) == []


@pytest.mark.parametrize("text", ["api_key = " + "0f" * 20, "ghp_" + "a" * 36, "WANDB_API_KEY=" + "f" * 40])
def test_a_key_would_be_found(text, tmp_path):
    assert SECRET.search(text)


def test_a_home_would_be_found():
    assert HOME.search("saved in " + "/home" + "/ada/outputs")
