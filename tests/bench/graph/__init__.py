# SPDX-License-Identifier: Apache-2.0
"""What the room graph costs, measured in a process of its own over the parts of a real server."""
