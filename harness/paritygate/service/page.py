"""A page: a path, one function that gives what it shows, and a template. Its JSON twin is the same view at `.json`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from paritygate.service import access, answers
from paritygate.service.rendering import render
from paritygate.service.words import with_query

View = TypeVar("View", bound=Callable[..., Any])
_ORDERS = ("after", "order", "refresh")  # parameters that leave nothing out


def page(router: APIRouter, path: str, template: str, *refusals: int) -> Callable[[View], View]:
    """Serves what a view function gives as HTML at `path`, and as JSON at `path.json`, which OpenAPI describes.

    A view that has a `refresh_s` other than 0 lets the browser come again after so long, by itself.
    """

    def register(view: View) -> View:
        kind = get_type_hints(view)["return"]

        def html(request: Request, shown: Annotated[Any, Depends(view)]) -> Response:
            return answer(request, template, shown, twin=_twin_of(request))

        def twin(shown: Annotated[Any, Depends(view)]) -> Response:
            return answers.answer(shown)

        # The twin comes first: `{run}` would take its ending too.
        said: dict[str, Any] = answers.described(kind, sorted({401, 403, 422, *refusals}))
        said |= {"description": view.__doc__, "operation_id": f"page_{view.__name__}", "tags": ["pages"]}
        router.add_api_route(path + ".json", twin, **said)
        router.add_api_route(path, html, response_class=HTMLResponse, include_in_schema=False)
        return view

    return register


def answer(request: Request, template: str, shown: Any, status: int = 200, twin: str = "") -> Response:
    """A page for whoever asks."""
    refresh = getattr(shown, "refresh_s", 0)
    html = render(template, **around(request), shown=shown, twin=twin)
    # As a header: as an element it is a violation by itself, to axe, even beside a link that stops it.
    return HTMLResponse(html, status, {"Refresh": str(refresh)} if refresh else None)


def _twin_of(request: Request) -> str:
    return request.url.path + ".json" + (f"?{request.url.query}" if request.url.query else "")


def around(request: Request) -> Mapping[str, Any]:
    """What every page has around what it shows: where it is, who asks, and the token of its forms."""
    return {
        "project": request.path_params.get("project", ""),
        "path": request.url.path,
        "caller": getattr(request.state, "caller", None),
        "is_logged_in": lambda: request.app.state.sessions.of(request) is not None,
        "form_token": lambda: access.form_token(request),
        "filtered": any(value for name, value in request.query_params.items() if name not in _ORDERS),
        "server": lambda: str(request.base_url).rstrip("/"),
        "link": lambda **changed: with_query(request.url.path, {**request.query_params, **changed}),
    }
