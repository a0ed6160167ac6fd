//! Miroir's command line, over gRPC.
