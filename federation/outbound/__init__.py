# SPDX-License-Identifier: Apache-2.0
"""What goes to other servers: to whom, when, and in which transactions."""
