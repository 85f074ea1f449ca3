//! Home of the integration test binary `it`; the library itself is empty.
