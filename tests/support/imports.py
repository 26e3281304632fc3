"""Imports of the project's files, read from their source."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python_files(*folders: str) -> list[Path]:
    """Every Python file below the folders of the checkout, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Dotted names of our own modules that a file imports anywhere, also late and under TYPE_CHECKING.

    A name imported from a module counts as `module.name`, so that `from vitsweep.study import plan` names the file.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("vitsweep", "analysis")}


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """Dotted module of a `from` import, relative ones resolved; `analysis/` is the package vitsweep.analysis."""
    if not node.level:
        return node.module or ""
    folders = path.relative_to(ROOT).parent.parts
    package = (("vitsweep",) if folders[0] == "analysis" else ()) + folders
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def room_of(module: str) -> str | None:
    """Room or ground file of vitsweep that a dotted module lies in; None for the package itself."""
    parts = module.split(".")
    if parts[0] != "vitsweep" or len(parts) < 2:
        return None
    if parts[1] == "analysis":
        return "analysis"
    folder = ROOT / "vitsweep"
    return parts[1] if (folder / parts[1]).is_dir() or (folder / f"{parts[1]}.py").is_file() else None
