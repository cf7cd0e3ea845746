# SPDX-License-Identifier: Apache-2.0
"""From a server name to where to connect. spec: server-server-api, "Resolving server names"."""
