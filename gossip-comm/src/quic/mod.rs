//! Real QUIC endpoints.
