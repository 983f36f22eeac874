"""Mapping in processes of their own, while more waits in a journal than one batch.

One interpreter decodes, maps, derives and answers requests, one after the other. A batch is derived here while the
next is decoded and mapped there.
"""
