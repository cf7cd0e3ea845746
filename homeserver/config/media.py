# SPDX-License-Identifier: Apache-2.0
"""Pictures and other files."""

from __future__ import annotations

from pathlib import Path

import attrs

from homeserver.config.collections import ListOf
from homeserver.config.keys import RecordOf, key, required
from homeserver.config.kinds import Boolean, Integer, OneOf, PathName
from homeserver.config.quantities import Duration, Size


@attrs.frozen(kw_only=True)
class ThumbnailSize:
    """A size of thumbnail, in pixels."""

    width: int = required(Integer(minimum=1, maximum=4096), """The width in pixels.""", example=320)
    height: int = required(Integer(minimum=1, maximum=4096), """The height in pixels.""", example=240)
    method: str = key(
        OneOf(("crop", "scale")),
        """crop fills the rectangle and cuts off what stands over; scale keeps the whole picture inside
        it.""",
        default="scale",
    )


@attrs.frozen(kw_only=True)
class MediaConfig:
    """Media; sizes in bytes, durations in milliseconds."""

    enable_media_repo: bool = key(Boolean(), """Whether this server keeps and serves media.""", default=True)
    media_store_path: Path = key(
        PathName(), """The directory that uploaded files are kept in: back it up.""", default="media_store"
    )
    max_upload_size: int = key(Size(minimum=1), """How large an upload may be.""", default="50M")
    max_image_pixels: int = key(
        Size(minimum=1),
        """How many pixels a picture may have to be made into thumbnails.""",
        default="32M",
    )
    dynamic_thumbnails: bool = key(
        Boolean(),
        """Whether thumbnails of exactly the asked size are made when asked for. Otherwise the nearest of
        thumbnail_sizes is served.""",
        default=False,
    )
    thumbnail_sizes: tuple[ThumbnailSize, ...] = key(
        ListOf(RecordOf(ThumbnailSize)),
        """The sizes of thumbnails that are made.""",
        default=[
            {"width": 32, "height": 32, "method": "crop"},
            {"width": 96, "height": 96, "method": "crop"},
            {"width": 320, "height": 240, "method": "scale"},
            {"width": 640, "height": 480, "method": "scale"},
            {"width": 800, "height": 600, "method": "scale"},
        ],
    )
    enable_authenticated_media: bool = key(
        Boolean(),
        """Whether media that come in from now on can only be fetched by users who are logged in and by
        servers that sign their request.""",
        default=True,
    )
    max_pending_media_uploads: int = key(
        Integer(minimum=1),
        """How many uploads a user may announce before they send the first of them.""",
        default=5,
    )
    unused_expiration_time: int = key(
        Duration(minimum=1), """How long an announced upload may take to come.""", default="24h"
    )
