"""Ways to write a filter: search text (`text`), query parameters (`plain`), JSON (`document`); all become
`sinks.filter`."""

from collector.query.document import read_document
from collector.query.errors import QueryError
from collector.query.plain import read_alternatives
from collector.query.text import read_text

__all__ = ["QueryError", "read_alternatives", "read_document", "read_text"]
