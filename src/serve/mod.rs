//! The HTTP server: router, queue, request and response formats.
