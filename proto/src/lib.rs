//! Miroir's gRPC interface.

/// Messages and services of package `miroir.v1`, generated from `proto/miroir/v1/*.proto`.
#[allow(missing_docs, unused_qualifications, clippy::all)]
pub mod v1 {
    tonic::include_proto!("miroir.v1");
}

/// The compiled descriptors of all `.proto` files, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/miroir_v1.bin"));
