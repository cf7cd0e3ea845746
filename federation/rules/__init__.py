# SPDX-License-Identifier: Apache-2.0
"""The pure rules of rooms and events; no I/O."""
