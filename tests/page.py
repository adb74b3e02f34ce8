"""A report's page as a reader's browser sees it, for what is said about it."""

import json
from html.parser import HTMLParser

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \u2028"


class Page(HTMLParser):
    """Tags, links, text and figures of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.text, self.figures, self._inside = [], [], "", [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self._inside = (tag, given)

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        tag, given = self._inside or ("", {})
        if tag == "script":
            if given.get("type") == "application/json":
                self.figures.append(json.loads(data))
        elif tag != "style":
            self.text += data
