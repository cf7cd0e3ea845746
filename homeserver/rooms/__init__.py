# SPDX-License-Identifier: Apache-2.0
"""What the client API asks of rooms: creating, membership, reading state and history, visibility."""
