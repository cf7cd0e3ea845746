# SPDX-License-Identifier: Apache-2.0
"""How several processes take in each other's commits: the log of commits, and who follows it."""
