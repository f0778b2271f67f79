from __future__ import annotations

from typing import Any, cast

import httpx
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from pipeline.settings import Settings
from pipeline.state.identities_writer import Desk
from pipeline.web.identity_api import Api, Operation


async def test_a_defect_of_ours_is_a_problem_that_shows_nothing_of_it() -> None:
    async def breaks(_api: Api, _request: Request) -> Response:
        raise RuntimeError("the secret place where it broke")

    settings = Settings(api_token=SecretStr("a token of many letters"))
    api = Api(cast("Desk", None), settings)
    one = Operation(method="GET", path="/broken", summary="", do=breaks, open=True)
    app: Any = api.app([one])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret place" not in answer.text
