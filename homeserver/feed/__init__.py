# SPDX-License-Identifier: Apache-2.0
"""The change feed: what has changed, for whom, since when; wakes those who wait."""
