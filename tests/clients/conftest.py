from tests.collector.proxy.conftest import _provider, provider, proxy

__all__ = ["_provider", "provider", "proxy"]
