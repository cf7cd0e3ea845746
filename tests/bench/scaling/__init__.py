# SPDX-License-Identifier: Apache-2.0
"""What several processes of one homeserver bring and cost."""
