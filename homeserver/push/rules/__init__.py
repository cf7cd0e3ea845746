# SPDX-License-Identifier: Apache-2.0
"""Push rules as pure values: what a user's rules are, and what they make of an event."""
