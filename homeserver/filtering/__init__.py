# SPDX-License-Identifier: Apache-2.0
"""Filters: what a client wants of what a read endpoint has. spec: client-server-api, "Filtering"."""
