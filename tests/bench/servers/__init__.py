# SPDX-License-Identifier: Apache-2.0
"""The servers under test, and how each is configured, started and ended."""
