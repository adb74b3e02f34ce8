"""Drawing: colours and sizes that all figures share; they take the colours of text and grid from the page."""

import plotly.graph_objects as go

# Okabe and Ito 2008: told apart by every kind of colour vision, on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00", "#808080")
COLD_TO_HOT = ["#0072B2", "#9467A8", "#D55E00"]  # in order for every kind of colour vision
FAINT = "rgba(128, 128, 128, 0.45)"


def sized(figure: go.Figure, height: int, right: int = 20) -> go.Figure:
    """Give a figure its height, margins and quiet grid.

    Args:
        figure: changed in place, and returned.
        height: pixels; its width is that of the page.
        right: pixels of margin for what is written beside the figure.
    """
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": right, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
    )
    quiet = {"gridcolor": "rgba(128,128,128,0.22)", "zeroline": False, "automargin": True}
    figure.update_xaxes(**quiet, title={"font": {"size": 13}})
    figure.update_yaxes(**quiet, title={"font": {"size": 13}, "standoff": 14})
    return figure
