//! Miroir's gRPC interface: generated code, and the conversions that keep protobuf at the edge.

/// The generated types and services of `miroir.v1`.
#[allow(
    missing_docs,
    clippy::all,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("miroir.v1");
}

mod convert;
mod json;

pub use convert::ConvertError;

/// The compiled descriptors of every service, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/miroir.v1.bin"));

/// Metadata key with which a coordinator that does not lead names the leader's API address.
pub const LEADER_METADATA: &str = "miroir-leader";

/// Metadata key under which a refused command carries its `Rejection` as JSON.
pub const REJECTION_METADATA: &str = "miroir-rejection-bin";
