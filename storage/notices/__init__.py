# SPDX-License-Identifier: Apache-2.0
"""What the processes of one homeserver tell each other right after a commit."""
