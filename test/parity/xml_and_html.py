"""Trees of XML, escapes and parsers of HTML."""

import html
import html.parser
import xml.etree.ElementTree as tree

root = tree.fromstring("<a x='1'><b>t</b><b/></a>")
print(
    [child.text for child in root.iter("b")], root.get("x"), tree.tostring(root), html.escape("<&>")
)
try:
    tree.fromstring("<a>")
except tree.ParseError as error:
    print(error)


class Parser(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        print(tag, attrs)


Parser().feed("<p class=a>x<br></p>")
