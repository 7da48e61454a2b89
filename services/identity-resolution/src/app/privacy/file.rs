//! The tar file of an export, piece by piece, so that it is never whole in memory.

use chrono::{DateTime, Utc};
use tar::{Builder, Header};
use trama_platform::Error;

/// Two empty blocks, which end the file.
const END: usize = 1024;

/// A file with its header, filled up to whole blocks.
///
/// # Errors
/// When the name cannot stand in a tar file.
pub fn entry(name: &str, content: &[u8], at: DateTime<Utc>) -> Result<Vec<u8>, Error> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(at.timestamp()).unwrap_or_default());
    let mut file = Builder::new(Vec::new());
    file.append_data(&mut header, name, content)
        .map_err(Error::internal)?;
    let mut bytes = file.into_inner().map_err(Error::internal)?;
    // More files follow.
    bytes.truncate(bytes.len() - END);
    Ok(bytes)
}

/// The end of the file.
pub fn end() -> Vec<u8> {
    vec![0; END]
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn pieces_are_one_file_with_every_name_and_content() {
        let at = DateTime::from_timestamp(1_780_308_000, 0).expect("a moment");
        let long = format!("attachments/{}.json", "x".repeat(200));
        let mut bytes = entry("case.json", b"{}", at).expect("an entry");
        bytes.extend(entry(&long, b"[]", at).expect("an entry"));
        bytes.extend(end());
        let mut found = Vec::new();
        for file in tar::Archive::new(bytes.as_slice()).entries().expect("a tar file") {
            let mut file = file.expect("an entry");
            let mut content = String::new();
            file.read_to_string(&mut content).expect("text");
            let name = file.path().expect("a name").display().to_string();
            found.push((name, content, file.header().mtime().expect("a time")));
        }
        assert_eq!(
            found,
            [
                ("case.json".to_owned(), "{}".to_owned(), 1_780_308_000),
                (long, "[]".to_owned(), 1_780_308_000)
            ]
        );
    }
}
