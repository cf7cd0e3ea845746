# SPDX-License-Identifier: Apache-2.0
"""A naive reading of how a room's events become its state, for the server's own code to be held against."""
