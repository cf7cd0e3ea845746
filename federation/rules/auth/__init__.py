# SPDX-License-Identifier: Apache-2.0
"""The authorisation rules, one module for each step of the specification's text."""
