"""Reads pages strictly."""

from html.parser import HTMLParser

VOID = {'meta', 'link', 'img', 'input', 'br', 'wbr'}


class Page(HTMLParser):
    """Elements, text and mistakes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.mistakes: list[str] = []
        self._open: list[str] = []
        self.text = ''
        self.feed(text)
        self.close()
        self.mistakes += [f'<{name}> is not closed' for name in self._open]

    def handle_starttag(self, tag, attrs):
        if len(attrs) > len(dict(attrs)):
            self.mistakes.append(f'<{tag}> has an attribute twice: {attrs}')
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f'</{tag}> at {self.getpos()} closes nothing')

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **attrs):
        wanted = {name.rstrip('_').replace('_', '-'): value for name, value in attrs.items()}
        return [own for name, own in self.elements if name == tag and wanted.items() <= own.items()]

    @property
    def panels(self):
        return [own['id'] for own in self.all('section', role='tabpanel')]
