# SPDX-License-Identifier: Apache-2.0
"""What the client and the server APIs share of HTTP."""
