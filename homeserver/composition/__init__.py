# SPDX-License-Identifier: Apache-2.0
"""The parts of the composition root: each builds one part of the house from the parts below it."""
