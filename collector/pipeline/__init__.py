"""From the journals into the store: decode, map, prepare, write, and what may go wrong on the way."""
