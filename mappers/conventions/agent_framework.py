"""Microsoft's Agent Framework: GenAI keys for agents, calls and tools, and plumbing of its workflows around them."""

from mappers.conventions.base import Convention, KindByName, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="agent_framework",
    priority=86,
    scopes=(r"^agent_framework@",),
    kinds=(KindByName(Kind.WORKFLOW, r"workflow\.run$"),),
    quirks=(Quirk(scope=r"^agent_framework@", name=r"^workflow\.build$", setup=True),),
)
