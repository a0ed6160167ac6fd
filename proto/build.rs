//! Compiles every `.proto` file of this crate, without a protoc binary.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = Path::new("miroir/v1");
    println!("cargo:rerun-if-changed={}", sources.display());
    let mut protos: Vec<PathBuf> = fs::read_dir(sources)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    protos.sort();
    let descriptors = protox::compile(&protos, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // For the reflection service, so that `grpcurl` needs no file of ours.
    fs::write(out.join("miroir.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
