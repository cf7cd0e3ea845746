# SPDX-License-Identifier: Apache-2.0
"""Push: rules, counts of what is unread, pushers. spec: client-server-api, "Push Notifications"."""
