# SPDX-License-Identifier: Apache-2.0
"""The load generator: far cheaper per request than any server under test."""
