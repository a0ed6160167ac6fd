//! Miroir's gRPC interface.
