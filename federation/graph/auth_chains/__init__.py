# SPDX-License-Identifier: Apache-2.0
"""Auth chains of whole room states: what differs between them, and the paths between conflicted events."""
