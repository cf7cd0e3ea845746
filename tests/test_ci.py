# SPDX-License-Identifier: Apache-2.0
"""Under CI=true a skipped test fails the run; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SKIPPING = {
    "mark": "import pytest\n@pytest.mark.skip(reason='because')\ndef test_it(): pass\n",
    "call": "import pytest\ndef test_it(): pytest.skip('because')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('because')\ndef test_it(it): pass\n",
    "module": "import pytest\npytest.skip('because', allow_module_level=True)\n",
}
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail(reason='because')\ndef test_it(): assert False\n"


@pytest.fixture
def skipping(tmp_path: Path) -> Path:
    """A directory with a test that skips in each way, one that fails as expected, and one that passes."""
    for name, text in SKIPPING.items():
        (tmp_path / f"test_{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "test_expected.py").write_text(EXPECTED_FAILURE, encoding="utf-8")
    (tmp_path / "test_passing.py").write_text("def test_it(): pass\n", encoding="utf-8")
    return tmp_path


def run_tests(directory: Path, ci: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.ci", "--continue-on-collection-errors"],
        cwd=directory,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_skip_is_a_failure_under_ci(skipping: Path) -> None:
    status, output = run_tests(skipping, "true")
    assert status == 1
    assert "skipped, which under CI is a failure: " in output
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in output


def test_a_skip_is_none_elsewhere(skipping: Path) -> None:
    status, output = run_tests(skipping, "")
    assert status == 0
    assert "1 passed, 4 skipped, 1 xfailed" in output
