# SPDX-License-Identifier: Apache-2.0
"""What people use: the client API, accounts, sync and the command line."""
