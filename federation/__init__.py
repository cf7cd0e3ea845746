# SPDX-License-Identifier: Apache-2.0
"""How servers agree: rules, the room graph, and the server-server API."""
