# SPDX-License-Identifier: Apache-2.0
"""Pages for stages that a client does not know. spec: client-server-api, "Fallback"."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import jinja2

from federation.errors import Forbidden, MatrixError, Unauthorized, Unknown, Unrecognized
from federation.http.decoding import query_decoder
from federation.http.endpoint import Auth, Call, Endpoint, Page, RawBody
from homeserver.accounts.stages import DummyStage, Flow, RegistrationTokenStage, Stage
from homeserver.accounts.user_interactive_authentication import UserInteractiveAuthentication

_PATH = "/_matrix/client/v3/auth/{authType}/fallback/web"
_LONGEST_FORM = 4096
_WITH_PAGES = frozenset({DummyStage.type, RegistrationTokenStage.type})


@attrs.frozen
class SessionQuery:
    """The query of a page."""

    session: str


@attrs.frozen
class FallbackForm:
    """What a page sends."""

    token: str | None = None


class AuthenticationFallback:
    """The pages of the stages in `flows` that have one."""

    def __init__(
        self, *, server_name: str, authentication: UserInteractiveAuthentication, flows: Sequence[Flow]
    ) -> None:
        self._server_name = server_name
        self._authentication = authentication
        self._flows = flows
        self._stages = {stage.type: stage for flow in flows for stage in flow if stage.type in _WITH_PAGES}
        pages = jinja2.FileSystemLoader(Path(__file__).parent / "pages")
        self._template = jinja2.Environment(loader=pages, autoescape=True).get_template("authentication.html")
        self._decode_form = query_decoder(FallbackForm)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (
            Endpoint("GET", _PATH, self.page, auth=Auth.NONE, query=SessionQuery),
            Endpoint(
                "POST",
                _PATH,
                self.submit,
                auth=Auth.NONE,
                limit="rc_registration_token_validity",
                query=SessionQuery,
                body=RawBody,
                max_body=_LONGEST_FORM,
            ),
        )

    async def page(self, call: Call[SessionQuery]) -> Page:
        """The page that asks for the proof."""
        return self._page(self._stage(call.path["authType"]))

    async def submit(self, call: Call[SessionQuery, RawBody]) -> Page:
        """Complete the stage, or ask again."""
        stage = self._stage(call.path["authType"])
        form = attrs.asdict(self._decode_form(call.body.content))
        try:
            await self._authentication.complete_elsewhere(call.query.session, stage, form, self._flows)
        except (Forbidden, Unauthorized, Unknown) as error:
            return self._page(stage, error=error)
        return self._page(stage, done=True)

    def _stage(self, stage_type: str) -> Stage:
        if stage_type not in self._stages:
            raise Unrecognized("There is no page for this stage")
        return self._stages[stage_type]

    def _page(self, stage: Stage, *, error: MatrixError | None = None, done: bool = False) -> Page:
        nonce = secrets.token_urlsafe(16)
        values: dict[str, Any] = {
            "server_name": self._server_name,
            "asks_token": stage.type == RegistrationTokenStage.type,
            "error": error.message if error is not None else None,
            "done": done,
            "nonce": nonce,
        }
        policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; "
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        status = 200 if error is None else 403
        return Page(self._template.render(values), status, (("Content-Security-Policy", policy),))
