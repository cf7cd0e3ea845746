# SPDX-License-Identifier: Apache-2.0
"""The client-server API, one module for each section of the specification."""
