# SPDX-License-Identifier: Apache-2.0
"""State resolution: one module for each algorithm and definition of the specification's text."""
