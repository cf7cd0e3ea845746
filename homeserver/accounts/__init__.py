# SPDX-License-Identifier: Apache-2.0
"""Users of this server: accounts, passwords, logins, and how they prove who they are."""
