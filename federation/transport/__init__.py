# SPDX-License-Identifier: Apache-2.0
"""Requests to other servers: addresses, TLS, connections, and the client that signs what it asks."""
