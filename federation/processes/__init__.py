# SPDX-License-Identifier: Apache-2.0
"""Several processes that serve one homeserver: who is alive, and who owns what."""
