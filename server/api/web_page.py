"""GET / and what stands under /web: a page to try settings on, of static files that hold nothing secret."""

from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter()
_FOLDER = Path(str(resources.files("server"))) / "web"
_DAY_S = 24 * 3600

static_files = StaticFiles(directory=_FOLDER)


@router.get("/", response_class=HTMLResponse)
async def web_page() -> Response:
    """Show a page to sample, to see the next token's distribution at any setting, and to compare two settings."""
    return FileResponse(_FOLDER / "index.html", media_type="text/html")


@router.get("/web/plotly.js", include_in_schema=False)
async def plotly() -> Response:
    """Send the library that draws the page's figures, as the installed package has it."""
    path = Path(str(resources.files("plotly"))) / "package_data" / "plotly.min.js"
    return FileResponse(path, media_type="text/javascript", headers={"cache-control": f"max-age={_DAY_S}"})
