# SPDX-License-Identifier: Apache-2.0
"""`/sync`, one face of the change feed. spec: client-server-api, "Syncing"."""
