//! Compiles the protos without protoc: protox parses, tonic-prost-build generates.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=trama");
    let mut files = Vec::new();
    collect(PathBuf::from("trama"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by protox itself: prost's own descriptor types would drop our scope option.
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &descriptors)?;

    let mut with_comments = protox::Compiler::new(["."])?;
    with_comments
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let set = with_comments.file_descriptor_set();
    debug_assert!(!set.encode_to_vec().is_empty());
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds(set)?;
    Ok(())
}

fn collect(dir: PathBuf, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(path, into)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            into.push(path);
        }
    }
    Ok(())
}
