# SPDX-License-Identifier: Apache-2.0
"""SQLite and PostgreSQL behind one interface."""
