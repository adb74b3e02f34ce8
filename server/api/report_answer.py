"""A report as a response: a page that may run its own two scripts, load nothing and send nothing anywhere."""

from starlette.responses import HTMLResponse


def report_answer(page: str) -> HTMLResponse:
    """Answer with a report.

    Args:
        page: as `server.reports.page` writes it.
    """
    from server.reports.page import policy  # brings Plotly, which is there by now

    alone = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    return HTMLResponse(page, headers={"content-security-policy": f"{policy()}; {alone}"})
