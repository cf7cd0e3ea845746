# SPDX-License-Identifier: Apache-2.0
"""Keys of servers: where they come from, which are known, and our own."""
