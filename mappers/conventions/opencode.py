"""opencode's own spans, a thousand for a question: plumbing around those of the AI SDK, which are in its scope too."""

from mappers.conventions.base import Convention, KindByName, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="opencode",
    priority=98,
    scopes=(r"^opencode@",),
    kinds=(KindByName(Kind.OTHER, r""),),
    quirks=(Quirk(scope=r"^opencode@", lacks="ai.operationId", setup=True),),
)
