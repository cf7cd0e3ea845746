# SPDX-License-Identifier: Apache-2.0
"""Moving in from another homeserver: what its database says, turned into records of our own."""
