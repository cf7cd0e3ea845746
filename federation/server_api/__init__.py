# SPDX-License-Identifier: Apache-2.0
"""The server-server API: one module for each section of the specification."""
