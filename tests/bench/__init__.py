# SPDX-License-Identifier: Apache-2.0
"""The project's own benchmark: `python -m tests.bench`. It is never run by the test suite."""
