# SPDX-License-Identifier: Apache-2.0
"""Profiles of users: their fields, who sees them, and how they come into rooms."""
