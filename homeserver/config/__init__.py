# SPDX-License-Identifier: Apache-2.0
"""The configuration: `homeserver.yaml` into frozen records, one module per section."""
