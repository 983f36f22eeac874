"""HoneyHive's SDKs: `honeyhive_*`, which they also add to the spans of other instrumentations."""

from mappers.conventions.base import Below, Convention, KindByValue, NameMatch
from mappers.model import Kind

CONVENTION = Convention(
    id="honeyhive",
    priority=70,
    keys=("honeyhive_event_type", "honeyhive.session_id"),
    kinds=(
        KindByValue(
            "honeyhive_event_type",
            {"model": Kind.LLM, "tool": Kind.TOOL, "chain": Kind.WORKFLOW, "session": Kind.OTHER},
            # Guessed from names on spans that are not its own, which know better themselves.
            order=150,
        ),
    ),
    fields={
        # A tracer has one of its own, which it also gives to the traces of others.
        "conversation_id": ["honeyhive.session_id", "traceloop.association.properties.session_id"],
        "user_id": ["honeyhive_user_properties.user_id", "traceloop.association.properties.user_id"],
        "metadata": [Below("honeyhive_metadata")],
        "request_model": ["honeyhive_config.model", "honeyhive_metadata.model"],
        "input_tokens": ["honeyhive_metadata.prompt_tokens"],
        "output_tokens": ["honeyhive_metadata.completion_tokens"],
        "total_tokens": ["honeyhive_metadata.total_tokens"],
        "error_message": ["honeyhive_error"],
        "tool": ["honeyhive_event_name", NameMatch(r"(.+)")],
        "arguments": [Below("honeyhive_inputs")],
        "result": ["honeyhive_outputs.result", Below("honeyhive_outputs")],
        "input": [Below("honeyhive_inputs")],
        "output": ["honeyhive_outputs.result", Below("honeyhive_outputs")],
    },
)
