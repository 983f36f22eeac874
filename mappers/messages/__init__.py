"""Messages of models in one shape, whatever shape they came in."""

from mappers.messages.message import Message, asked_text, first_text, last_text, read_messages
from mappers.messages.part import Part

__all__ = ["Message", "Part", "asked_text", "first_text", "last_text", "read_messages"]
