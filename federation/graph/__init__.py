# SPDX-License-Identifier: Apache-2.0
"""The room graph: one door through which every event enters a room."""
