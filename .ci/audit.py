"""What ``make audit`` runs: are there known vulnerabilities in the packages that are installed here?

pip-audit asks PyPI about each package. Its exit status is 1 for a vulnerability and 1 without a network, and 0 where
the index that it reaches knows nothing of vulnerabilities. So its answer is read here: exit 1 for findings alone, and
what could not be asked is said, not passed over.

    python .ci/audit.py                            # the environment
    python .ci/audit.py -r constraints.txt --no-deps --disable-pip    # any other arguments of pip-audit
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = ("--local", "--skip-editable")
LIMIT = 1800  # seconds


def ask(arguments: Sequence[str]) -> tuple[list[dict[str, Any]] | None, str]:
    """Run pip-audit.

    Args:
        arguments: What to audit.

    Returns:
        The packages as pip-audit reports them, and ``""``; or None, and why there is no report.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--output", str(report), *arguments], capture_output=True, text=True, timeout=LIMIT
            )
            return json.loads(report.read_text(encoding="utf-8"))["dependencies"], ""
        except subprocess.TimeoutExpired:
            return None, f"it took more than {LIMIT} seconds"
        except (OSError, ValueError, KeyError, TypeError):  # no report
            said = done.stderr.strip().splitlines() or [f"pip-audit ended with status {done.returncode}"]
            return None, said[-1]


def told(packages: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """Describe a report.

    Args:
        packages: From :func:`ask`.

    Returns:
        The text, and the number of vulnerabilities.
    """
    skipped = [package for package in packages if "skip_reason" in package]
    asked = [package for package in packages if "skip_reason" not in package]
    lines, found = [], 0
    for package in asked:
        for hole in package["vulns"]:
            found += 1
            names = " ".join(
                [hole["id"], *(alias for alias in hole.get("aliases", []) if alias != hole["id"])]
            )
            fixed = " or ".join(hole["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")
    lines += [f"not audited: {package['name']}: {package['skip_reason']}" for package in skipped]
    if not asked:
        lines.append(
            "NOT AUDITED: the index that was reached knows nothing of any package. Ask from another network."
        )
    else:
        lines.append(
            f"{len(asked)} packages audited, {found} known vulnerabilities; {len(skipped)} not audited."
        )
    return "\n".join(lines), found


def main(arguments: Sequence[str]) -> int:
    """Audit, and return 1 if there are known vulnerabilities, else 0."""
    packages, why = ask(arguments or ENVIRONMENT)
    if packages is None:
        print(
            f"NOT AUDITED: {why}\npip-audit asks pypi.org about each package; run `make audit` where it can."
        )
        return 0
    text, found = told(packages)
    print(text)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
